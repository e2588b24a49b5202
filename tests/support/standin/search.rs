//! SEARCH: keys, one after the other, and the two forms of the answer (RFC 3501, RFC 4731).

use std::sync::Arc;

use chrono::NaiveDate;

use super::account::{Entry, header, header_lines};
use super::dialect::Kind;
use super::parse::Arg;
use super::server::User;
use super::session::{Done, Session, Stop};
use super::set::{self, Set};
use super::{gmail, yahoo};

/// A key that a message meets or not.
enum Key {
    All,
    Flag(String, bool),
    Deleted(bool),
    Header(String, String),
    Body(String),
    Text(String),
    Since(NaiveDate),
    Before(NaiveDate),
    On(NaiveDate),
    Larger(usize),
    Smaller(usize),
    Uid(Set),
    Number(Set),
    ModSeq(u64),
    GmailMessage(u64),
    GmailThread(u64),
    GmailLabel(Arg),
    GmailRaw(String),
    EmailId(String),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
    Every(Vec<Self>),
}

impl Session {
    pub(super) fn search(
        &mut self,
        user: &mut User,
        tag: &str,
        args: &[Arg],
        by_uid: bool,
    ) -> Done {
        let server = Arc::clone(&self.server);
        let dialect = &server.dialect;
        let mut args = args;
        let mut results = None;
        if let [word, Arg::List(options), rest @ ..] = args
            && word.word().as_deref() == Some("RETURN")
        {
            if !dialect.has("ESEARCH") && !dialect.has("PARTIAL") {
                return Err(Stop::Arguments);
            }
            (results, args) = (Some(options.as_slice()), rest);
        }
        if let [word, charset, rest @ ..] = args
            && word.word().as_deref() == Some("CHARSET")
        {
            let name = charset.astring().map(|n| n.to_ascii_uppercase()).unwrap_or_default();
            if name != b"UTF-8" && name != b"US-ASCII" {
                return Err(Stop::No("[BADCHARSET (US-ASCII UTF-8)] No such charset".into()));
            }
            args = rest;
        }
        let mut keys = Vec::new();
        while !args.is_empty() {
            keys.push(self.key(&mut args)?);
        }
        if keys.is_empty() {
            return Err(Stop::Arguments);
        }
        let key = Key::Every(keys);
        let every = Arg::Atom("1:*".into());
        let all = self.chosen(user, &every, true)?;
        let largest = (all.len(), all.last().map_or(0, |(_, uid)| *uid));
        let mut found: Vec<(usize, u32)> = Vec::new();
        for (n, uid) in all {
            let Some((_, entry)) = self.open_entry(user, uid) else { continue };
            if self.meets(user, &key, n, uid, entry, largest) {
                found.push((n, uid));
            }
        }
        let partial = results.and_then(|r| {
            let at = r.iter().position(|o| o.word().as_deref() == Some("PARTIAL"))?;
            r.get(at + 1)?.atom()
        });
        let page = match partial {
            Some(text) => Some((text, yahoo::page(text).ok_or(Stop::Arguments)?)),
            None => None,
        };
        let limited = if page.is_none() { self.limit(&mut found) } else { None };
        let number = |(n, uid): &(usize, u32)| {
            if by_uid { *uid } else { u32::try_from(*n).unwrap_or(u32::MAX) }
        };
        let numbers: Vec<u32> = found.iter().map(number).collect();
        let Some(results) = results else {
            let text: Vec<String> = numbers.iter().map(|n| format!(" {n}")).collect();
            self.wire.line(&format!("* SEARCH{}", text.concat()));
            return Ok(limited.unwrap_or_default());
        };
        let mut line = format!("* ESEARCH (TAG \"{tag}\"){}", if by_uid { " UID" } else { "" });
        let wants = |name: &str| results.iter().any(|o| o.word().as_deref() == Some(name));
        if let Some((text, page)) = page {
            let numbers: Vec<u32> = page.of(&found).iter().map(number).collect();
            let set = if numbers.is_empty() { "NIL".into() } else { set::write(&numbers) };
            line.push_str(&format!(" PARTIAL ({text} {set})"));
        }
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            if wants("MIN") {
                line.push_str(&format!(" MIN {first}"));
            }
            if wants("MAX") {
                line.push_str(&format!(" MAX {last}"));
            }
            if wants("ALL") || results.is_empty() {
                line.push_str(&format!(" ALL {}", set::write(&numbers)));
            }
        }
        if wants("COUNT") {
            line.push_str(&format!(" COUNT {}", numbers.len()));
        }
        self.wire.line(&line);
        Ok(limited.unwrap_or_default())
    }

    fn key(&self, args: &mut &[Arg]) -> Result<Key, Stop> {
        let (first, rest) = args.split_first().ok_or(Stop::Arguments)?;
        *args = rest;
        if let Arg::List(inner) = first {
            let (mut inner, mut keys) = (inner.as_slice(), Vec::new());
            while !inner.is_empty() {
                keys.push(self.key(&mut inner)?);
            }
            return Ok(Key::Every(keys));
        }
        let word = first.word().ok_or(Stop::Arguments)?;
        let dialect = &self.server.dialect;
        let (gm, objects) = (dialect.has("X-GM-EXT-1"), dialect.has("OBJECTID"));
        Ok(match word.as_str() {
            "ALL" => Key::All,
            "NOT" => Key::Not(Box::new(self.key(args)?)),
            "OR" => Key::Or(Box::new(self.key(args)?), Box::new(self.key(args)?)),
            "SEEN" | "ANSWERED" | "FLAGGED" | "DRAFT" => Key::Flag(format!("\\{word}"), true),
            "UNSEEN" | "UNANSWERED" | "UNFLAGGED" | "UNDRAFT" => {
                Key::Flag(format!("\\{}", &word[2..]), false)
            }
            "DELETED" => Key::Deleted(true),
            "UNDELETED" => Key::Deleted(false),
            "KEYWORD" => Key::Flag(next_text(args)?, true),
            "UNKEYWORD" => Key::Flag(next_text(args)?, false),
            "HEADER" => Key::Header(next_text(args)?, next_text(args)?),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Header(word, next_text(args)?),
            "BODY" => Key::Body(next_text(args)?),
            "TEXT" => Key::Text(next_text(args)?),
            "SINCE" => Key::Since(next_date(args)?),
            "BEFORE" => Key::Before(next_date(args)?),
            "ON" => Key::On(next_date(args)?),
            "LARGER" => Key::Larger(next_number(args)?),
            "SMALLER" => Key::Smaller(next_number(args)?),
            "UID" => Key::Uid(Set::parse(&next_text(args)?).ok_or(Stop::Arguments)?),
            "MODSEQ" if dialect.has("CONDSTORE") => Key::ModSeq(next_number(args)?),
            "X-GM-MSGID" if gm => Key::GmailMessage(next_number(args)?),
            "X-GM-THRID" if gm => Key::GmailThread(next_number(args)?),
            "X-GM-LABELS" if gm => {
                let (label, rest) = args.split_first().ok_or(Stop::Arguments)?;
                *args = rest;
                Key::GmailLabel(label.clone())
            }
            "X-GM-RAW" if gm => Key::GmailRaw(next_text(args)?),
            "EMAILID" if objects => Key::EmailId(next_text(args)?),
            text => Key::Number(Set::parse(text).ok_or(Stop::Arguments)?),
        })
    }

    fn meets(
        &self,
        user: &mut User,
        key: &Key,
        n: usize,
        uid: u32,
        entry: Entry,
        largest: (usize, u32),
    ) -> bool {
        let message = &user.account[entry.message];
        let holds = |bytes: &[u8], part: &str| {
            String::from_utf8_lossy(bytes).to_lowercase().contains(&part.to_lowercase())
        };
        let is_yahoo = self.server.dialect.kind == Kind::Yahoo;
        // RFC 3501, 6.4.4: the date as written, without its zone.
        let date = message.date.date_naive();
        let as_number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match key {
            Key::All => true,
            Key::Flag(flag, on) => {
                message.flags.iter().any(|f| f.eq_ignore_ascii_case(flag)) == *on
            }
            Key::Deleted(on) => entry.is_deleted == *on,
            Key::Header(name, part) => {
                let is_known = !(is_yahoo && yahoo::is_unindexed(name));
                is_known
                    && header(&message.bytes, name)
                        .is_some_and(|value| holds(value.as_bytes(), part))
            }
            Key::Body(part) => {
                let n: usize = header_lines(&message.bytes).map(<[u8]>::len).sum();
                holds(&message.bytes[n..], part)
            }
            Key::Text(part) => holds(&message.bytes, part),
            Key::Since(day) => date >= *day,
            Key::Before(day) => date < *day,
            Key::On(day) => date == *day,
            Key::Larger(size) => message.bytes.len() > *size,
            Key::Smaller(size) => message.bytes.len() < *size,
            Key::Uid(set) => set.contains(uid, largest.1),
            Key::Number(set) => set.contains(as_number(n), as_number(largest.0)),
            Key::ModSeq(modseq) => user.account.modseq_of(entry) >= *modseq,
            Key::GmailMessage(id) => message.object == *id,
            Key::GmailThread(id) => message.thread == *id,
            Key::GmailLabel(label) => {
                gmail::bears(&mut user.account, entry.message, label, self.utf8)
            }
            Key::GmailRaw(query) => gmail::raw(&user.account, entry.message, query),
            Key::EmailId(id) => format!("M{}", message.object) == *id,
            Key::Not(key) => !self.meets(user, key, n, uid, entry, largest),
            Key::Or(a, b) => {
                self.meets(user, a, n, uid, entry, largest)
                    || self.meets(user, b, n, uid, entry, largest)
            }
            Key::Every(keys) => keys.iter().all(|k| self.meets(user, k, n, uid, entry, largest)),
        }
    }
}

fn next_text(args: &mut &[Arg]) -> Result<String, Stop> {
    let (first, rest) = args.split_first().ok_or(Stop::Arguments)?;
    *args = rest;
    match first {
        Arg::Atom(text) => Ok(text.clone()),
        Arg::Text(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Arg::List(_) => Err(Stop::Arguments),
    }
}

fn next_number<T: std::str::FromStr>(args: &mut &[Arg]) -> Result<T, Stop> {
    next_text(args)?.parse().map_err(|_| Stop::Arguments)
}

/// `1-Feb-1994`, quoted or not.
fn next_date(args: &mut &[Arg]) -> Result<NaiveDate, Stop> {
    NaiveDate::parse_from_str(&next_text(args)?, "%d-%b-%Y").map_err(|_| Stop::Arguments)
}
