"""Drives a stand-in with imapclient, which knows Gmail's labels, CONDSTORE, MOVE and more.

usage: with_imapclient.py SCENARIO PORT; ends with 0 if all was as IMAP says.
"""

import datetime
import sys

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError, LoginError

MAIL = b"Message-ID: <client-1@example>\r\nSubject: by imapclient\r\n\r\nhello\r\n"


def refuses(act, words):
    try:
        act()
    except (IMAPClientError, LoginError) as error:
        assert words in str(error), error
        return
    raise AssertionError(f"{words}: it was not refused")


def core(client):
    client.login("anna", 'p"w\\')
    client.id_({"name": "imapclient"})
    assert client.namespace().personal == (("", "/"),)
    client.create_folder("Entwürfe & mehr")
    folders = {name: flags for flags, _, name in client.list_folders()}
    assert "Entwürfe & mehr" in folders, folders
    when = datetime.datetime(2003, 7, 1, 10, 52, 37, tzinfo=datetime.timezone.utc)
    client.append("INBOX", MAIL, (b"\\Seen", b"$Work"), when)
    client.append("INBOX", MAIL.replace(b"client-1", b"client-2"))
    assert client.folder_status("INBOX", ["MESSAGES", "UIDNEXT"]) [b"MESSAGES"] == 2
    selected = client.select_folder("INBOX")
    assert selected[b"EXISTS"] == 2 and b"\\*" in selected[b"PERMANENTFLAGS"], selected
    first, second = client.search()
    assert client.search(["HEADER", "Message-ID", "<client-2@example>"]) == [second]
    assert client.search(["SINCE", datetime.date(2020, 1, 1)]) == [second]
    assert client.search(["UID", f"{first}:*", "KEYWORD", "$Work"]) == [first]
    got = client.fetch([first], ["FLAGS", "INTERNALDATE", "BODY.PEEK[]", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])
    assert got[first][b"BODY[]"] == MAIL, got
    assert got[first][b"BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: by imapclient\r\n\r\n", got
    assert set(got[first][b"FLAGS"]) == {b"\\Seen", b"$Work"}, got
    assert b"\\Flagged" in client.add_flags([first], [b"\\Flagged"])[first]
    client.copy([first], "Entwürfe & mehr")
    client.move([second], "Entwürfe & mehr")
    assert client.search() == [first]
    client.delete_messages([first])
    client.uid_expunge([first])
    assert client.search() == []
    assert client.select_folder("Entwürfe & mehr", readonly=True)[b"EXISTS"] == 2
    client.idle()
    client.idle_done()
    client.unselect_folder()
    client.rename_folder("Entwürfe & mehr", "Entwürfe/2")
    client.delete_folder("Entwürfe/2")
    assert not client.folder_exists("Entwürfe/2")


def changed_since(client):
    """CONDSTORE: only what changed is told."""
    client.login("anna", "pw")
    modseq = client.select_folder("INBOX")[b"HIGHESTMODSEQ"]
    uids = client.search()
    assert len(uids) > 1
    assert client.fetch(uids, ["FLAGS"], [f"CHANGEDSINCE {modseq}"]) == {}
    client.add_flags(uids[:1], [b"\\Flagged"])
    changed = client.fetch(uids, ["FLAGS"], [f"CHANGEDSINCE {modseq}"])
    assert list(changed) == uids[:1], changed
    assert changed[uids[0]][b"MODSEQ"][0] > modseq, changed
    assert client.folder_status("INBOX", ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"] > modseq


def gmail(client):
    """Labels: the same message by its id in every folder, the open folder's own label left out."""
    client.oauth2_login("anna", "good")
    assert client.has_capability("X-GM-EXT-1") and not client.has_capability("QRESYNC")
    by_role = {flag: name for flags, _, name in client.list_folders() for flag in flags}
    everything, trash, starred = by_role[b"\\All"], by_role[b"\\Trash"], by_role[b"\\Flagged"]
    assert everything in [name for flags, _, name in client.xlist_folders() if b"\\AllMail" in flags]
    refuses(lambda: client.select_folder(everything.split("/")[0]), "Unknown Mailbox")
    client.select_folder("INBOX")
    (uid,) = client.gmail_search("subject:report is:unread")
    ids = client.fetch([uid], ["X-GM-MSGID", "X-GM-THRID", "X-GM-LABELS"])[uid]
    assert set(ids[b"X-GM-LABELS"]) == {b"W&APY-rk &- Co", b"\\Important"}, ids
    added = client.add_gmail_labels([uid], ["New label", "Ümlaut"])
    assert "Ümlaut" in added[uid] and "\\Inbox" not in added[uid], added
    client.select_folder("New label")
    (there,) = client.search(["X-GM-MSGID", str(ids[b"X-GM-MSGID"])])
    client.select_folder(everything)
    (here,) = client.search(["X-GM-LABELS", "New label"])
    labels = client.get_gmail_labels([here])[here]
    assert set(labels) == {"\\Inbox", "\\Important", "Wörk & Co", "New label", "Ümlaut"}, labels
    client.add_flags([here], [b"\\Flagged"])
    assert client.select_folder(starred)[b"EXISTS"] == 1
    client.select_folder("INBOX")
    client.set_gmail_labels([uid], ["Ümlaut"])
    assert client.search() == []
    assert client.select_folder(everything)[b"EXISTS"] == 2
    client.move([here], trash)
    assert client.select_folder(everything)[b"EXISTS"] == 1
    assert client.select_folder("Ümlaut")[b"EXISTS"] == 0
    assert client.select_folder(trash)[b"EXISTS"] == 1


def microsoft365(client):
    refuses(lambda: client.login("anna", "pw"), "LOGIN")
    client.oauth2_login("anna", "good")
    capabilities = client.capabilities()
    assert b"SPECIAL-USE" not in capabilities and b"CONDSTORE" not in capabilities
    flags = {name: flags for flags, _, name in client.list_folders()}
    assert "Sent Items" in flags and not any(b"\\Sent" in f for f in flags.values()), flags
    client.append("INBOX", MAIL, (b"\\Seen", b"\\Flagged", b"$MDNSent", b"$Work"))
    selected = client.select_folder("INBOX")
    assert b"\\*" not in selected[b"PERMANENTFLAGS"], selected
    (uid,) = client.search()
    got = client.fetch([uid], ["FLAGS", "RFC822.SIZE", "BODY.PEEK[]"])[uid]
    assert set(got[b"FLAGS"]) == {b"\\Seen", b"$MDNSent"}, got
    assert got[b"BODY[]"] != MAIL and MAIL in got[b"BODY[]"], got
    assert got[b"RFC822.SIZE"] != len(got[b"BODY[]"]), got
    client.add_flags([uid], [b"\\Flagged"])
    assert b"\\Flagged" in client.get_flags([uid])[uid]
    refuses(lambda: client.create_folder("Files"), "Folder name is reserved")
    refuses(lambda: client.create_folder("Sent Items"), "already exists")
    refuses(lambda: client.append("INBOX", b"A: b\r\n\r\n" + b"x" * 11000), "Command Argument Error. 11")


def yahoo(client):
    """More messages than the window shows."""
    client.login("anna", "pw")
    assert client.select_folder("INBOX")[b"EXISTS"] == 10
    newest = client.search()
    assert len(newest) == 4, "one command handles four"
    assert len(client.search(["UID", f"1:{newest[0] - 1}"])) == 4
    got = client.fetch(newest, ["EMAILID", "BODY.PEEK[TEXT]"])
    assert len({message[b"EMAILID"] for message in got.values()}) == 4, got
    assert got[newest[3]][b"BODY[TEXT]"] == b"12\r\n", got
    # A quoted string, where most servers send a literal.
    got = client.fetch(newest[3:], ["BODY.PEEK[TEXT]<0.2>"])
    assert got[newest[3]][b"BODY[TEXT]<0>"] == b"12", got
    client.move(newest[2:], "Archive")
    client.select_folder("Archive")
    assert len(client.search()) == 2
    client.select_folder("INBOX")
    refuses(lambda: client.append("INBOX", MAIL.strip()), "Additional arguments")


def main():
    scenario, port = sys.argv[1:]
    client = IMAPClient("127.0.0.1", int(port), ssl=False, timeout=60)
    globals()[scenario](client)
    client.logout()


main()
