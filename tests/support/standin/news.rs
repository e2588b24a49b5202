//! What a client is told unasked: messages that came, went or changed in the folder it has open.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::account::FolderId;
use super::server::User;
use super::session::{Done, Session, Stop};
use super::set;

impl Session {
    /// Tells what happens to the selected folder until DONE (RFC 2177).
    pub(super) fn idle(&mut self) -> io::Result<Done> {
        const TICK: Duration = Duration::from_millis(100);
        self.wire.line("+ idling");
        self.wire.flush()?;
        loop {
            let name = self.user.clone().unwrap_or_default();
            let server = Arc::clone(&self.server);
            let over = server.user(&name, |user| {
                self.is_allowed(user, "IDLE")?;
                self.tell_changes(user, true);
                Ok(())
            });
            if let Err(stop) = over {
                return Ok(Err(stop));
            }
            self.wire.flush()?;
            match self.wire.line_within(TICK)? {
                None => {}
                Some(line) if line.eq_ignore_ascii_case(b"DONE") => return Ok(Ok(String::new())),
                Some(_) => return Ok(Err(Stop::Bad("Expected DONE".into()))),
            }
        }
    }

    /// What is new in the selected folder since the client was last told.
    pub(super) fn tell_changes(&mut self, user: &User, may_expunge: bool) {
        let told = std::mem::take(&mut self.told);
        let Some(mut selected) = self.selected.take() else { return };
        let Some(folder) = user.account.folders.get(&selected.folder) else {
            // Someone deleted it.
            return;
        };
        if may_expunge {
            let is_there = |uid: &u32| folder.entries.contains_key(uid);
            let gone: Vec<u32> = selected.uids.iter().copied().filter(|u| !is_there(u)).collect();
            if self.uid_only && !gone.is_empty() {
                self.wire.line(&format!("* VANISHED {}", set::write(&gone)));
            } else {
                for n in (0..selected.uids.len()).rev().filter(|n| !is_there(&selected.uids[*n])) {
                    self.wire.line(&format!("* {} EXPUNGE", n + 1));
                }
            }
            selected.uids.retain(is_there);
        }
        let last = selected.uids.last().copied().unwrap_or_default();
        let visible = self.visible(user, selected.folder);
        let new: Vec<u32> = visible.into_iter().filter(|uid| *uid > last).collect();
        if !new.is_empty() {
            selected.uids.extend(new);
            self.wire.line(&format!("* {} EXISTS", selected.uids.len()));
        }
        for (n, uid) in selected.uids.iter().enumerate().filter(|(_, uid)| !told.contains(uid)) {
            let Some(entry) = folder.entries.get(uid) else { continue };
            let since = user.account.modseq_of(*entry);
            if since > selected.modseq && *uid <= last {
                let flags = self.flags_of(user, *entry);
                let line = match self.uid_only {
                    true => format!("* {uid} UIDFETCH (FLAGS ({flags}))"),
                    false => format!("* {} FETCH (UID {uid} FLAGS ({flags}))", n + 1),
                };
                self.wire.line(&line);
            }
        }
        selected.modseq = user.account.modseq;
        self.selected = Some(selected);
    }

    /// The UIDs of a folder that this session is shown, ascending.
    pub(super) fn visible(&self, user: &User, folder: FolderId) -> Vec<u32> {
        let uids: Vec<u32> = user.account[folder].entries.keys().copied().collect();
        let windows = [user.folder_limit, self.server.dialect.window.filter(|_| !self.uid_only)];
        let most = windows.into_iter().flatten().min().filter(|_| !self.is_admin);
        let n_hidden = most.map_or(0, |most| uids.len().saturating_sub(most));
        uids[n_hidden..].to_vec()
    }
}
