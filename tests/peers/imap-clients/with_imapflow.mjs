// Drives a stand-in with imapflow, which compresses, enables UTF8=ACCEPT and CONDSTORE, and lists
// with RETURN wherever a server offers that.
//
// usage: with_imapflow.mjs SCENARIO PORT; ends with 0 if all was as IMAP says. $IMAPFLOW is the
// library.
import assert from 'node:assert/strict';

const { ImapFlow } = await import(process.env.IMAPFLOW);
const [scenario, port] = process.argv.slice(2);
const MAIL = 'Message-ID: <flow-1@example>\r\nSubject: by imapflow\r\n\r\nhello, Wörld\r\n';

function client(auth) {
    const where = { host: '127.0.0.1', port: Number(port), secure: false };
    return new ImapFlow({ ...where, auth, logger: false, socketTimeout: 60_000 });
}

async function all(generator) {
    const found = [];
    for await (const message of generator) found.push(message);
    return found;
}

const scenarios = {
    async core(flow) {
        await flow.connect();
        assert.ok(flow.enabled.has('CONDSTORE'));
        await flow.mailboxCreate('Entwürfe & mehr');
        const listed = await flow.list({ statusQuery: { messages: true, uidNext: true } });
        const made = listed.find(folder => folder.path === 'Entwürfe & mehr');
        assert.equal(made.status.messages, 0);
        assert.ok(listed.some(folder => folder.specialUse === '\\Trash'));
        const date = new Date('2003-07-01T10:52:37Z');
        const first = await flow.append('INBOX', MAIL, ['\\Seen', '$Work'], date);
        // Longer than a literal that need not be waited for.
        const long = MAIL.replace('flow-1', 'flow-2') + 'x'.repeat(70).concat('\r\n').repeat(1000);
        const second = await flow.append('INBOX', long);
        const box = await flow.mailboxOpen('INBOX');
        assert.equal(box.exists, 2);
        assert.deepEqual(await flow.search({ header: { 'message-id': '<flow-2@example>' } }, { uid: true }), [second.uid]);
        assert.deepEqual(await flow.search({ before: new Date('2004-01-01') }, { uid: true }), [first.uid]);
        const query = { uid: true, flags: true, internalDate: true, size: true, source: true, headers: ['subject'] };
        const [one, two] = await all(flow.fetch('1:*', query));
        assert.equal(one.source.toString(), MAIL);
        assert.equal(two.source.toString(), long);
        assert.equal(two.size, Buffer.byteLength(long));
        assert.equal(one.internalDate.getTime(), date.getTime());
        assert.deepEqual([...one.flags].sort(), ['$Work', '\\Seen']);
        assert.match(one.headers.toString(), /^Subject: by imapflow/);
        const modseq = (await flow.status('INBOX', { highestModseq: true })).highestModseq;
        await flow.messageFlagsAdd(String(second.uid), ['\\Flagged'], { uid: true });
        const changed = await all(flow.fetch('1:*', { uid: true, flags: true }, { changedSince: modseq }));
        assert.deepEqual(changed.map(message => message.uid), [second.uid]);
        const moved = await flow.messageMove(String(second.uid), 'Entwürfe & mehr', { uid: true });
        assert.equal(moved.uidMap.size, 1);
        const copied = await flow.messageCopy(String(first.uid), 'Entwürfe & mehr', { uid: true });
        assert.ok(copied.uidMap.has(first.uid));
        await flow.messageDelete(String(first.uid), { uid: true });
        assert.equal(flow.mailbox.exists, 0);
        assert.equal((await flow.status('Entwürfe & mehr', { messages: true })).messages, 2);
        await flow.mailboxRename('Entwürfe & mehr', 'Später');
        await flow.mailboxDelete('Später');
        await assert.rejects(flow.mailboxOpen('Später'));
    },

    async gmail(flow) {
        await flow.connect();
        const roles = new Map((await flow.list()).map(folder => [folder.specialUse, folder.path]));
        assert.equal(roles.get('\\All'), '[Google Mail]/Alle Nachrichten');
        assert.equal(roles.get('\\Trash'), '[Google Mail]/Papierkorb');
        await flow.mailboxOpen('INBOX');
        const [inInbox] = await all(flow.fetch('1:*', { uid: true, labels: true, threadId: true }));
        await flow.messageFlagsAdd('1', ['Später'], { useLabels: true });
        const answered = await flow.append('INBOX', MAIL.replace('\r\n', '\r\nIn-Reply-To: <report@notes.example>\r\n'));
        await flow.mailboxOpen(roles.get('\\All'));
        const [one, , answer] = await all(flow.fetch('1:*', { uid: true, labels: true, threadId: true }));
        assert.equal(one.emailId, inInbox.emailId);
        assert.deepEqual([...one.labels].sort(), ['Später', 'Wörk & Co', '\\Important', '\\Inbox']);
        assert.equal(answer.threadId, one.threadId);
        assert.ok(answered.uid);
        assert.deepEqual(await flow.search({ gmailRaw: 'label:Später' }, { uid: true }), [one.uid]);
        assert.deepEqual(await flow.search({ emailId: one.emailId }, { uid: true }), [one.uid]);
    },

    async microsoft365(flow) {
        await flow.connect();
        const sent = (await flow.list()).find(folder => folder.specialUse === '\\Sent');
        // No attribute says so: the client knows the name.
        assert.equal(sent.path, 'Sent Items');
        assert.equal(sent.specialUseSource, 'name');
        const { uid } = await flow.append('INBOX', MAIL, ['\\Flagged']);
        await flow.mailboxOpen('INBOX');
        const [message] = await all(flow.fetch('1:*', { uid: true, flags: true, source: true }));
        assert.equal(message.uid, uid);
        assert.equal(message.flags.size, 0);
        assert.notEqual(message.source.toString(), MAIL);
    },

    async yahoo(flow) {
        await flow.connect();
        const box = await flow.mailboxOpen('INBOX');
        assert.equal(box.exists, 10);
        const messages = await all(flow.fetch('7:10', { uid: true, bodyParts: ['TEXT'] }));
        assert.deepEqual(messages.map(message => message.bodyParts.get('text').toString().trim()), ['9', '10', '11', '12']);
        assert.equal(new Set(messages.map(message => message.emailId)).size, 4);
        assert.ok(messages[0].uid > 100 && messages[1].uid > messages[0].uid + 1);
    },
};

const token = { user: 'anna', accessToken: 'good' };
const auth = scenario === 'core' ? { user: 'anna', pass: 'p"w\\' } : token;
const flow = client(auth);
try {
    await scenarios[scenario](flow);
    await flow.logout();
} catch (error) {
    console.error(error);
    process.exit(1);
}
