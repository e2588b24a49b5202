//! What changes messages: APPEND, STORE, COPY, MOVE and EXPUNGE.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, FixedOffset, Utc};

use super::account::{FolderId, MessageId, Role};
use super::dialect::Kind;
use super::parse::Arg;
use super::server::{Server, User};
use super::session::{Done, Session, Stop};
use super::set;
use super::{gmail, microsoft365, yahoo};

impl Session {
    /// `APPEND folder [(flags)] ["date"] literal`.
    pub(super) fn append(&self, user: &mut User, args: &[Arg]) -> Done {
        let server = Arc::clone(&self.server);
        let dialect = &server.dialect;
        let [name, rest @ .., Arg::Text(bytes)] = args else { return Err(Stop::Arguments) };
        let (flags, date) = match rest {
            [] => (&[][..], None),
            [Arg::List(flags)] => (flags.as_slice(), None),
            [Arg::Text(date)] => (&[][..], Some(date)),
            [Arg::List(flags), Arg::Text(date)] => (flags.as_slice(), Some(date)),
            _ => return Err(Stop::Arguments),
        };
        let date = match date {
            Some(text) => parse_date(text).ok_or(Stop::Arguments)?,
            None => Utc::now().fixed_offset(),
        };
        // RFC 3501, 6.3.11: the client may make the folder and try again.
        let folder = self.folder(user, name).map_err(|stop| match stop {
            Stop::Says(text) => Stop::Says(text.replacen("[NONEXISTENT]", "[TRYCREATE]", 1)),
            other => other,
        })?;
        if bytes.is_empty() || bytes.len() > dialect.append_limit {
            return Err(Stop::Says(dialect.says.too_big.into()));
        }
        let mut flags = dialect.kept(&atoms(flags)?);
        let mut bytes = bytes.clone();
        let is_over = !user.spend(1, bytes.len());
        match dialect.kind {
            Kind::Gmail if is_over => return Err(Stop::Says(gmail::OVER_BANDWIDTH.into())),
            Kind::Microsoft365 => {
                microsoft365::refuse_message(&bytes)?;
                flags.remove("\\Flagged");
                if !user.is_exact {
                    bytes = microsoft365::regenerated(&bytes);
                }
            }
            Kind::Yahoo => yahoo::refuse_message(&bytes)?,
            Kind::Plain | Kind::Gmail => {}
        }
        let account = &mut user.account;
        let uid = match dialect.is_gmail().then(|| gmail::twin(account, user.twins, &bytes)) {
            Some(Some(twin)) => {
                // The answer names a message that is discarded at once: the one that was there
                // gets the label.
                let uid = account.skip_uid(folder);
                gmail::add_label(account, twin, folder);
                uid
            }
            Some(None) => {
                if account[folder].role == Role::Flagged {
                    flags.insert("\\Flagged".into());
                }
                let (id, uid) = account.add(folder, bytes.into(), flags, date);
                gmail::follow_flags(account, id);
                gmail::set_labels(account, id, account[id].labels.clone());
                uid
            }
            None => account.add(folder, bytes.into(), flags, date).1,
        };
        if !dialect.has("UIDPLUS") {
            return Ok(String::new());
        }
        Ok(format!("[APPENDUID {} {uid}]", account[folder].uid_validity))
    }

    /// `STORE set [(UNCHANGEDSINCE n)] item values`.
    pub(super) fn store(&mut self, user: &mut User, args: &[Arg], by_uid: bool) -> Done {
        let server = Arc::clone(&self.server);
        let dialect = &server.dialect;
        let (set, unchanged, item, values) = match args {
            [set, Arg::List(modifier), item, values @ ..] if dialect.has("CONDSTORE") => {
                let [word, Arg::Atom(n)] = &modifier[..] else { return Err(Stop::Arguments) };
                if word.word().as_deref() != Some("UNCHANGEDSINCE") {
                    return Err(Stop::Arguments);
                }
                (set, Some(n.parse::<u64>().map_err(|_| Stop::Arguments)?), item, values)
            }
            [set, item, values @ ..] => (set, None, item, values),
            _ => return Err(Stop::Arguments),
        };
        let values = match values {
            [Arg::List(values)] => values.as_slice(),
            values => values,
        };
        let item = item.word().ok_or(Stop::Arguments)?;
        let (item, is_silent) = match item.strip_suffix(".SILENT") {
            Some(item) => (item, true),
            None => (item.as_str(), false),
        };
        let sign = item.chars().next().filter(|c| "+-".contains(*c));
        let mut chosen = self.chosen(user, set, by_uid)?;
        self.is_writable()?;
        let limited = self.limit(&mut chosen);
        let mut modified = Vec::new();
        if let Some(since) = unchanged {
            chosen.retain(|(n, uid)| {
                let entry = self.open_entry(user, *uid);
                let is_same = entry.is_none_or(|(_, e)| user.account.modseq_of(e) <= since);
                if !is_same {
                    let n = u32::try_from(*n).unwrap_or(u32::MAX);
                    modified.push(if by_uid { *uid } else { n });
                }
                is_same
            });
        }
        let what = item.trim_start_matches(['+', '-']);
        match what {
            "FLAGS" => {
                let flags = atoms(values)?;
                for (_, uid) in &chosen {
                    self.store_flags(user, *uid, sign, &flags);
                }
            }
            "X-GM-LABELS" if dialect.has("X-GM-EXT-1") => {
                let entries = chosen.iter().filter_map(|(_, uid)| self.open_entry(user, *uid));
                let messages: Vec<MessageId> = entries.map(|(_, entry)| entry.message).collect();
                gmail::store(&mut user.account, &messages, sign, values, self.utf8)?;
            }
            _ => return Err(Stop::Arguments),
        }
        for (n, uid) in chosen {
            // A message may have left the folder with its label.
            let Some((folder, entry)) = self.open_entry(user, uid) else { continue };
            self.told.insert(uid);
            let mut told = match what {
                "FLAGS" => format!("FLAGS ({})", self.flags_of(user, entry)),
                _ => {
                    let labels = gmail::labels(&user.account, entry.message, folder, self.utf8);
                    format!("X-GM-LABELS ({labels})")
                }
            };
            if unchanged.is_some() {
                told.push_str(&format!(" MODSEQ ({})", user.account.modseq_of(entry)));
            }
            if !is_silent || unchanged.is_some() {
                self.wire.line(&match (self.uid_only, by_uid) {
                    (true, _) => format!("* {uid} UIDFETCH ({told})"),
                    (false, true) => format!("* {n} FETCH (UID {uid} {told})"),
                    (false, false) => format!("* {n} FETCH ({told})"),
                });
            }
        }
        if !modified.is_empty() {
            return Ok(format!("[MODIFIED {}]", set::write(&modified)));
        }
        Ok(limited.unwrap_or_default())
    }

    fn store_flags(&self, user: &mut User, uid: u32, sign: Option<char>, given: &[String]) {
        let Some((folder, entry)) = self.open_entry(user, uid) else { return };
        let names_deleted = given.iter().any(|flag| flag.eq_ignore_ascii_case("\\Deleted"));
        let kept = self.server.dialect.kept(given);
        let account = &mut user.account;
        if sign.is_none() || names_deleted {
            account.set_deleted(folder, uid, names_deleted && sign != Some('-'));
        }
        let Some(message) = account.messages.get_mut(&entry.message) else { return };
        let before = message.flags.clone();
        let is_given = |flag: &String| kept.iter().any(|k| k.eq_ignore_ascii_case(flag));
        match sign {
            Some('-') => message.flags.retain(|flag| !is_given(flag)),
            sign => {
                if sign.is_none() {
                    message.flags.clear();
                }
                let new = kept.iter().filter(|k| !before.iter().any(|f| f.eq_ignore_ascii_case(k)));
                let new: Vec<String> = new.cloned().collect();
                let same = before.iter().filter(|f| is_given(f)).cloned();
                message.flags.extend(same);
                message.flags.extend(new);
            }
        }
        if message.flags != before {
            if self.server.dialect.is_gmail() {
                gmail::follow_flags(account, entry.message);
            }
            account.settle(entry.message);
        }
    }

    pub(super) fn copy(
        &mut self,
        user: &mut User,
        args: &[Arg],
        by_uid: bool,
        moves: bool,
    ) -> Done {
        let server = Arc::clone(&self.server);
        let [set, name] = args else { return Err(Stop::Arguments) };
        let mut chosen = self.chosen(user, set, by_uid)?;
        if moves {
            self.is_writable()?;
        }
        let to = self.folder(user, name).map_err(|stop| match stop {
            Stop::Says(text) => Stop::Says(text.replacen("[NONEXISTENT]", "[TRYCREATE]", 1)),
            other => other,
        })?;
        let limited = self.limit(&mut chosen);
        let (mut from_uids, mut to_uids) = (Vec::new(), Vec::new());
        for (_, uid) in chosen {
            let Some((from, entry)) = self.open_entry(user, uid) else { continue };
            let account = &mut user.account;
            let new = match server.dialect.kind {
                Kind::Gmail => {
                    let new = gmail::add_label(account, entry.message, to);
                    let mut labels = account[entry.message].labels.clone();
                    if moves && from != to && labels.remove(&from) {
                        gmail::set_labels(account, entry.message, labels);
                    }
                    new
                }
                _ => {
                    let new = account.copy(entry.message, to);
                    if moves {
                        account.destroy(entry.message);
                    }
                    new
                }
            };
            from_uids.push(uid);
            to_uids.push(new);
        }
        if from_uids.is_empty() || !server.dialect.has("UIDPLUS") {
            return Ok(limited.unwrap_or_default());
        }
        let to_set = match server.dialect.kind {
            Kind::Yahoo => yahoo::permuted(&to_uids, moves),
            _ => written(&to_uids),
        };
        let validity = user.account[to].uid_validity;
        let code = format!("[COPYUID {validity} {} {to_set}]", set::write(&from_uids));
        if moves {
            // RFC 6851, 4.3: before the messages go.
            self.wire.line(&format!("* OK {code} moved"));
            return Ok(limited.unwrap_or_default());
        }
        match limited {
            // A tagged answer has room for one code.
            Some(limited) => {
                self.wire.line(&format!("* OK {code} copied"));
                Ok(limited)
            }
            None => Ok(code),
        }
    }

    pub(super) fn expunge(&self, user: &mut User, args: Option<&[Arg]>) -> Done {
        self.is_writable()?;
        let selected = self.selected.as_ref().ok_or(Stop::Arguments)?;
        let uids = match args {
            None => selected.uids.clone(),
            Some([set]) => self.chosen(user, set, true)?.into_iter().map(|(_, uid)| uid).collect(),
            Some(_) => return Err(Stop::Arguments),
        };
        expunge_marked(&self.server, user, selected.folder, &uids);
        Ok(String::new())
    }

    fn is_writable(&self) -> Result<(), Stop> {
        match &self.selected {
            Some(selected) if selected.is_read_only => {
                Err(Stop::No("[READ-ONLY] The folder was opened for reading".into()))
            }
            Some(_) => Ok(()),
            None => Err(Stop::Arguments),
        }
    }

    /// Leaves the newest messages that one command handles; the code that says so, if it does
    /// not handle all.
    pub(super) fn limit(&self, chosen: &mut Vec<(usize, u32)>) -> Option<String> {
        let most = self.server.dialect.message_limit?;
        self.server.largest.fetch_max(chosen.len(), Ordering::SeqCst);
        let n_left = chosen.len().checked_sub(most).filter(|n| *n > 0)?;
        chosen.drain(..n_left);
        Some(format!("[MESSAGELIMIT {most} {}]", chosen.first()?.1))
    }
}

/// Removes the messages of these that bear `\Deleted`.
pub(super) fn expunge_marked(server: &Server, user: &mut User, folder: FolderId, uids: &[u32]) {
    for uid in uids {
        let Some(entry) = user.account.entry(folder, *uid) else { continue };
        match server.dialect.kind {
            _ if !entry.is_deleted => {}
            Kind::Gmail => {
                gmail::expunge(&mut user.account, entry.message, folder, user.last_expunge);
            }
            _ => user.account.destroy(entry.message),
        }
    }
}

/// UIDs in the order given: ranges only where they ascend.
pub(super) fn written(uids: &[u32]) -> String {
    if uids.is_sorted() && uids.windows(2).all(|pair| pair[0] != pair[1]) {
        return set::write(uids);
    }
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn atoms(args: &[Arg]) -> Result<Vec<String>, Stop> {
    let distinct: BTreeSet<&str> =
        args.iter().map(|arg| arg.atom().ok_or(Stop::Arguments)).collect::<Result<_, _>>()?;
    Ok(distinct.into_iter().map(str::to_owned).collect())
}

/// `" 1-Jul-2003 10:52:37 +0200"`.
fn parse_date(text: &[u8]) -> Option<DateTime<FixedOffset>> {
    let text = str::from_utf8(text).ok()?;
    DateTime::parse_from_str(text.trim_start(), "%d-%b-%Y %H:%M:%S %z").ok()
}
