//! Folders: LIST and its kin, STATUS, SELECT, and what makes and removes them.

use std::sync::Arc;

use super::account::{Folder, FolderId, Role};
use super::dialect::{Dialect, Kind};
use super::parse::Arg;
use super::server::User;
use super::session::{Done, Selected, Session, Stop};
use super::{gmail, microsoft365, wire_text};
use crate::support::utf7;

impl Session {
    /// `LIST [(options)] reference pattern [RETURN (options)]`, or the same by XLIST.
    pub(super) fn list(&mut self, user: &User, verb: &str, args: &[Arg]) -> Done {
        let server = Arc::clone(&self.server);
        let dialect = &server.dialect;
        let (select, args) = match args {
            [Arg::List(options), rest @ ..] if dialect.has("LIST-EXTENDED") => {
                (words(options)?, rest)
            }
            _ => (Vec::new(), args),
        };
        let (reference, patterns, options) = match args {
            [reference, patterns] => (reference, patterns, &[][..]),
            [reference, patterns, word, Arg::List(options)]
                if dialect.has("LIST-EXTENDED") && word.word().as_deref() == Some("RETURN") =>
            {
                (reference, patterns, options.as_slice())
            }
            _ => return Err(Stop::Arguments),
        };
        let patterns = match patterns {
            Arg::List(patterns) if dialect.has("LIST-EXTENDED") => patterns.as_slice(),
            one => std::slice::from_ref(one),
        };
        let reference = self.decoded(reference.astring().ok_or(Stop::Arguments)?);
        let mut globs = Vec::new();
        for pattern in patterns {
            let pattern = self.decoded(pattern.pattern().ok_or(Stop::Arguments)?);
            if pattern.is_empty() {
                // RFC 3501, 6.3.8: asks for the separator alone.
                self.wire.line("* LIST (\\Noselect) \"/\" \"\"");
                return Ok(String::new());
            }
            globs.push(format!("{reference}{pattern}"));
        }
        let status = options.iter().position(|o| o.word().as_deref() == Some("STATUS"));
        let status = match status {
            Some(at) if dialect.has("LIST-STATUS") => {
                Some(words(options.get(at + 1).and_then(Arg::list).ok_or(Stop::Arguments)?)?)
            }
            _ => None,
        };
        for (id, folder) in &user.account.folders {
            let is_meant = globs.iter().any(|glob| matches(glob, &folder.name))
                && self.may_see(folder)
                && (!select.iter().any(|o| o == "SPECIAL-USE")
                    || folder.role.attribute().is_some())
                && (!select.iter().any(|o| o == "SUBSCRIBED") || folder.is_subscribed);
            if !is_meant {
                continue;
            }
            let special = match verb {
                "XLIST" => gmail::xlist_attribute(folder.role),
                _ => folder.role.attribute().filter(|_| dialect.has("SPECIAL-USE")),
            };
            let attributes = attributes(user, folder, special, dialect);
            let name = wire_text(&self.encoded(&folder.name));
            self.wire.line(&format!("* {verb} ({attributes}) \"/\" {name}"));
            if let Some(items) = status.as_ref().filter(|_| folder.is_selectable) {
                self.tell_status(user, *id, items)?;
            }
        }
        Ok(String::new())
    }

    pub(super) fn lsub(&mut self, user: &User, args: &[Arg]) -> Done {
        let [reference, pattern] = args else { return Err(Stop::Arguments) };
        let reference = self.decoded(reference.astring().ok_or(Stop::Arguments)?);
        let pattern = self.decoded(pattern.pattern().ok_or(Stop::Arguments)?);
        for folder in user.account.folders.values() {
            let is_meant = folder.is_subscribed && folder.is_selectable && self.may_see(folder);
            if is_meant && matches(&format!("{reference}{pattern}"), &folder.name) {
                let name = wire_text(&self.encoded(&folder.name));
                self.wire.line(&format!("* LSUB () \"/\" {name}"));
            }
        }
        Ok(String::new())
    }

    pub(super) fn status(&mut self, user: &User, args: &[Arg]) -> Done {
        let [name, Arg::List(items)] = args else { return Err(Stop::Arguments) };
        let folder = self.folder(user, name)?;
        self.tell_status(user, folder, &words(items)?)?;
        Ok(String::new())
    }

    fn tell_status(&mut self, user: &User, id: FolderId, items: &[String]) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        let (dialect, folder) = (&server.dialect, &user.account[id]);
        let uids: Vec<u32> = match dialect.status_counts_all {
            true => folder.entries.keys().copied().collect(),
            false => self.visible(user, id),
        };
        let messages = || uids.iter().map(|uid| &user.account[folder.entries[uid].message]);
        let mut told = Vec::new();
        for item in items {
            let value = match item.as_str() {
                "MESSAGES" => uids.len().to_string(),
                "RECENT" => "0".into(),
                "UIDNEXT" => folder.uid_next.to_string(),
                "UIDVALIDITY" => folder.uid_validity.to_string(),
                "UNSEEN" => messages().filter(|m| !m.flags.contains("\\Seen")).count().to_string(),
                "HIGHESTMODSEQ" if dialect.has("CONDSTORE") => folder.modseq.to_string(),
                "SIZE" if dialect.has("STATUS=SIZE") => {
                    messages().map(|m| m.bytes.len()).sum::<usize>().to_string()
                }
                "APPENDLIMIT" if dialect.has("APPENDLIMIT") => dialect.append_limit.to_string(),
                "MAILBOXID" if dialect.has("OBJECTID") => format!("(F{})", folder.uid_validity),
                _ => return Err(Stop::Arguments),
            };
            told.push(format!("{item} {value}"));
        }
        let name = wire_text(&self.encoded(&folder.name));
        self.wire.line(&format!("* STATUS {name} ({})", told.join(" ")));
        Ok(())
    }

    pub(super) fn select(&mut self, user: &User, args: &[Arg], is_read_only: bool) -> Done {
        self.selected = None;
        let server = Arc::clone(&self.server);
        let (name, options) = match args {
            [name] => (name, &[][..]),
            [name, Arg::List(options)] if server.dialect.has("CONDSTORE") => (name, &options[..]),
            _ => return Err(Stop::Arguments),
        };
        if options.iter().any(|o| o.word().as_deref() != Some("CONDSTORE")) {
            return Err(Stop::Arguments);
        }
        let id = self.folder(user, name)?;
        let folder = &user.account[id];
        let uids = self.visible(user, id);
        let permanent = server.dialect.permanent_flags();
        let shown = permanent.replace(" \\*", "");
        let allowed = if is_read_only { "" } else { permanent.as_str() };
        self.wire.line(&format!("* FLAGS ({shown})"));
        self.wire.line(&format!("* OK [PERMANENTFLAGS ({allowed})] Flags permitted."));
        self.wire.line(&format!("* OK [UIDVALIDITY {}] UIDs valid.", folder.uid_validity));
        self.wire.line(&format!("* {} EXISTS", uids.len()));
        self.wire.line("* 0 RECENT");
        self.wire.line(&format!("* OK [UIDNEXT {}] Predicted next UID.", folder.uid_next));
        if server.dialect.has("CONDSTORE") {
            self.wire.line(&format!("* OK [HIGHESTMODSEQ {}]", folder.modseq));
        }
        if server.dialect.has("OBJECTID") {
            self.wire.line(&format!("* OK [MAILBOXID (F{})]", folder.uid_validity));
        }
        let modseq = user.account.modseq;
        self.selected = Some(Selected { folder: id, is_read_only, uids, modseq });
        Ok(if is_read_only { "[READ-ONLY]" } else { "[READ-WRITE]" }.into())
    }

    pub(super) fn close(&mut self, user: &mut User, expunges: bool) -> Done {
        let selected = self.selected.take().ok_or(Stop::Arguments)?;
        if expunges && !selected.is_read_only {
            super::write::expunge_marked(&self.server, user, selected.folder, &selected.uids);
        }
        Ok(String::new())
    }

    pub(super) fn create(&mut self, user: &mut User, args: &[Arg]) -> Done {
        let [name] = args else { return Err(Stop::Arguments) };
        let name = self.decoded(name.astring().ok_or(Stop::Arguments)?);
        // A separator at the end says that more is to come below.
        let name = name.strip_suffix('/').unwrap_or(&name);
        let server = Arc::clone(&self.server);
        if user.account.find(name).is_some() {
            return Err(Stop::Says(server.dialect.says.exists.into()));
        }
        let refusal = match server.dialect.kind {
            Kind::Gmail => gmail::refuse_name(&user.account, name),
            Kind::Microsoft365 => microsoft365::refuse_name(name),
            Kind::Plain | Kind::Yahoo => None,
        };
        if let Some(stop) = refusal {
            return Err(stop);
        }
        if name.is_empty() || name.split('/').any(str::is_empty) {
            return Err(Stop::No("[CANNOT] Invalid name".into()));
        }
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        for name in above.chain([name]) {
            if user.account.find(name).is_none() {
                user.account.create(name, Role::None);
            }
        }
        Ok(String::new())
    }

    pub(super) fn delete(&mut self, user: &mut User, args: &[Arg]) -> Done {
        let [name] = args else { return Err(Stop::Arguments) };
        let id = self.folder(user, name)?;
        if user.account[id].role != Role::None {
            return Err(Stop::No("[CANNOT] This folder stays".into()));
        }
        let entries: Vec<_> = user.account[id].entries.values().map(|e| e.message).collect();
        for message in entries {
            let mut labels = user.account[message].labels.clone();
            labels.remove(&id);
            user.account.relabel(message, labels);
        }
        user.account.folders.remove(&id);
        Ok(String::new())
    }

    pub(super) fn rename(&mut self, user: &mut User, args: &[Arg]) -> Done {
        let [from, to] = args else { return Err(Stop::Arguments) };
        let id = self.folder(user, from)?;
        let to = self.decoded(to.astring().ok_or(Stop::Arguments)?);
        if user.account.find(&to).is_some() {
            return Err(Stop::Says(self.server.dialect.says.exists.into()));
        }
        if user.account[id].role != Role::None {
            return Err(Stop::No("[CANNOT] This folder keeps its name".into()));
        }
        let from = user.account[id].name.clone();
        for folder in user.account.folders.values_mut() {
            let below =
                folder.name.strip_prefix(&from).filter(|r| r.is_empty() || r.starts_with('/'));
            if let Some(below) = below {
                folder.name = format!("{to}{below}");
            }
        }
        Ok(String::new())
    }

    pub(super) fn subscribe(&self, user: &mut User, args: &[Arg], on: bool) -> Done {
        let [name] = args else { return Err(Stop::Arguments) };
        let id = self.folder(user, name)?;
        if let Some(folder) = user.account.folders.get_mut(&id) {
            folder.is_subscribed = on;
        }
        Ok(String::new())
    }

    /// The folder of this name, if it is one that this session may open.
    pub(super) fn folder(&self, user: &User, name: &Arg) -> Result<FolderId, Stop> {
        let name = self.decoded(name.astring().ok_or(Stop::Arguments)?);
        let found = user.account.find(&name);
        let may_open = |id: &FolderId| {
            let folder = &user.account[*id];
            folder.is_selectable && self.may_see(folder)
        };
        let says = &self.server.dialect.says;
        found.filter(may_open).ok_or_else(|| Stop::Says((says.no_folder)(&name)))
    }

    fn may_see(&self, folder: &Folder) -> bool {
        self.is_admin || !folder.is_hidden
    }

    fn decoded(&self, wire: &[u8]) -> String {
        let text = String::from_utf8_lossy(wire);
        if self.utf8 { text.into_owned() } else { utf7::decode(&text) }
    }

    fn encoded(&self, name: &str) -> String {
        if self.utf8 { name.to_owned() } else { utf7::encode(name) }
    }
}

fn attributes(user: &User, folder: &Folder, special: Option<&str>, dialect: &Dialect) -> String {
    let below = format!("{}/", folder.name);
    let has_children = user.account.folders.values().any(|f| f.name.starts_with(&below));
    let mut attributes = vec![if has_children { "\\HasChildren" } else { "\\HasNoChildren" }];
    if !folder.is_selectable {
        attributes.push("\\Noselect");
    }
    attributes.extend(special);
    if folder.is_subscribed && dialect.has("LIST-EXTENDED") && !dialect.is_gmail() {
        attributes.push("\\Subscribed");
    }
    attributes.join(" ")
}

/// Atoms, in capitals; a list after one is left out.
fn words(args: &[Arg]) -> Result<Vec<String>, Stop> {
    args.iter().map(|arg| arg.word().ok_or(Stop::Arguments)).collect()
}

/// Does the name match, where `*` is anything and `%` anything on one level?
fn matches(glob: &str, name: &str) -> bool {
    match glob.chars().next() {
        None => name.is_empty(),
        Some(wild @ ('*' | '%')) => {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            let within = |at: &usize| wild == '*' || !name[..*at].contains('/');
            let mut ends = ends.take_while(within);
            ends.any(|at| matches(&glob[1..], &name[at..]))
        }
        Some(c) if glob.eq_ignore_ascii_case("INBOX") && c.is_ascii() => {
            name.eq_ignore_ascii_case("INBOX")
        }
        Some(c) => name.strip_prefix(c).is_some_and(|rest| matches(&glob[c.len_utf8()..], rest)),
    }
}
