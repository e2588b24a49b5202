"""Drives a stand-in with Python's own imaplib, which sends little and checks much.

usage: with_imaplib.py SCENARIO PORT; ends with 0 if all was as IMAP says.
"""

import imaplib
import re
import sys
import time

MAIL = b"Message-ID: <lib-1@example>\r\nSubject: by imaplib\r\n\r\n8-bit \xff and (parens) {3}\r\n"


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def core(imap):
    """Sign in, list, append by a literal that waits, fetch, search, store, copy, expunge."""
    ok(imap.login("anna", 'p"w\\'))
    assert "UIDPLUS" in imap.capabilities or ok(imap.capability())
    ok(imap.noop())
    assert any(b"INBOX" in line for line in ok(imap.list()))
    ok(imap.create('"A &- B"'))
    assert any(b'"A &- B"' in line for line in ok(imap.list('""', '"A*"')))
    when = time.strptime("1 Jul 2003 10:52:37", "%d %b %Y %H:%M:%S")
    date = imaplib.Time2Internaldate(time.mktime(when))
    appended = ok(imap.append("INBOX", r"(\Seen $Forwarded)", date, MAIL))
    uid = re.search(rb"APPENDUID \d+ (\d+)", appended[0]).group(1).decode()
    assert ok(imap.select("INBOX")) == [b"1"]
    assert imap.response("UIDVALIDITY")[1][0].isdigit()
    assert ok(imap.search(None, "ALL")) == [b"1"]
    assert ok(imap.uid("SEARCH", "HEADER", "Message-ID", '"<lib-1@example>"')) == [uid.encode()]
    assert ok(imap.search(None, "SINCE", "1-Jul-2003", "BEFORE", "3-Jul-2003")) == [b"1"]
    assert ok(imap.search(None, "NOT", "SEEN")) == [b""]
    assert ok(imap.search("UTF-8", "OR", "UNSEEN", "KEYWORD", "$forwarded")) == [b"1"]
    fetched = ok(imap.uid("FETCH", uid, "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
    assert fetched[0][1] == MAIL, fetched
    told = fetched[0][0] + fetched[1]
    assert b"RFC822.SIZE %d" % len(MAIL) in told and b"$Forwarded" in told, told
    assert imaplib.Internaldate2tuple(told)[:5] == time.gmtime(time.mktime(when))[:5]
    part = ok(imap.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
    assert part[0][1] == b"Subject: by imaplib\r\n\r\n", part
    part = ok(imap.fetch("1", "(BODY.PEEK[TEXT]<2.3>)"))
    assert part[0][1] == b"bit" and b"<2>" in part[0][0], part
    stored = ok(imap.store("1", "+FLAGS", r"(\Flagged)"))
    assert rb"\Flagged" in stored[0] and rb"\Seen" in stored[0]
    copied = imap.uid("COPY", uid, '"A &- B"')
    ok(copied)
    ok(imap.store("1", "+FLAGS.SILENT", r"\Deleted"))
    assert ok(imap.expunge()) == [b"1"]
    ok(imap.close())
    assert re.search(rb"MESSAGES 1\b.*UNSEEN 0", ok(imap.status('"A &- B"', "(MESSAGES UNSEEN)"))[0])
    assert ok(imap.select('"A &- B"', readonly=True)) == [b"1"]
    assert imap.store("1", "+FLAGS", r"\Seen")[0] == "NO"
    ok(imap.unselect())
    ok(imap.rename('"A &- B"', "C"))
    ok(imap.delete("C"))
    assert imap.select("C")[0] == "NO"
    assert imap.append("C", None, None, MAIL)[0] == "NO"


def refused(imap):
    """What a server must not take."""
    try:
        imap.login("anna", "wrong")
        raise AssertionError("signed in")
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error


def token(imap):
    """OAUTHBEARER, refused by a challenge and then let in."""
    said = []

    def bearer(token):
        def answer(challenge):
            said.append(challenge)
            if len(said) % 2 == 0:
                return b"\x01"
            return f"n,a=anna,\x01auth=Bearer {token}\x01\x01".encode()

        return answer

    try:
        imap.authenticate("OAUTHBEARER", bearer("bad"))
        raise AssertionError("signed in")
    except imaplib.IMAP4.error:
        assert said[1].startswith(b"{"), said
    said.clear()
    ok(imap.authenticate("OAUTHBEARER", bearer("good")))


def main():
    scenario, port = sys.argv[1:]
    imap = imaplib.IMAP4("127.0.0.1", int(port), timeout=60)
    {"core": core, "refused": refused, "token": token}[scenario](imap)
    imap.logout()


main()
