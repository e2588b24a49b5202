//! Where a source folder goes, and what its name becomes there. Pure.
//!
//! Stronger rules first: `[folders] map`, `prefix`, the inbox, the role, the same path. A folder
//! below a mapped or role-matched one goes with it. The name is then fitted to the destination's
//! separator; what it cannot hold is written `=2E`, which people see and which never makes two
//! names one. Nothing is remembered: a lost ledger finds the same folders again.

use std::collections::BTreeMap;

use crate::definition::{FolderRules, FolderTarget};
use crate::model::{Folder, FolderPath, Role, escape};
use crate::platform::{FolderStatus, Naming};

use super::plan::Target;

/// Knows both folder trees and the definition's rules.
pub(crate) struct Namer<'a> {
    rules: &'a FolderRules,
    naming: &'a Naming,
    /// Paths of the source's folders that have a role.
    source_roles: BTreeMap<&'a FolderPath, Role>,
    source: &'a [FolderStatus],
    destination: &'a [FolderStatus],
}

impl<'a> Namer<'a> {
    pub(crate) fn new(
        rules: &'a FolderRules,
        naming: &'a Naming,
        source: &'a [FolderStatus],
        destination: &'a [FolderStatus],
    ) -> Self {
        let roles = source.iter().map(|s| &s.folder);
        let source_roles = roles.filter_map(|f| Some((&f.path, f.role?))).collect();
        Self { rules, naming, source_roles, source, destination }
    }

    /// The destination folder for a source folder.
    pub(crate) fn target(&self, folder: &Folder) -> Target {
        let wanted = self.wanted(&folder.path);
        let is_mapped = self.is_mapped(&folder.path);
        let free = |path: FolderPath| if is_mapped { path } else { self.freed(path) };
        // A folder that is there under either spelling is the one: so a name that was once
        // refused in its plain spelling is found again without a record of it.
        let plain = free(self.fit(&wanted, false));
        let strict = free(self.fit(&wanted, true));
        let exists = |path: &FolderPath| self.find(path).is_some();
        let marked = reserved(&plain);
        let path = match [&plain, &strict, &marked].into_iter().find(|path| exists(path)) {
            Some(path) => path,
            None => &plain,
        };
        let name = match self.find(path) {
            Some(there) => there.folder.name.clone(),
            None => self.naming.name(path),
        };
        Target {
            exists: exists(path),
            repaired: *path != wanted,
            strict_name: (strict != *path).then(|| (self.naming.name(&strict), strict.clone())),
            path: path.clone(),
            name,
            role: folder.role,
        }
    }

    /// The path by the rules, before it is fitted.
    fn wanted(&self, path: &FolderPath) -> FolderPath {
        let segments = path.segments();
        // The nearest ancestor-or-self that a rule names decides; the rest hangs below it.
        for depth in (1..=segments.len()).rev() {
            let head = FolderPath::new(segments[..depth].iter().cloned());
            let by_role = || {
                self.by_role(&head)
                    .filter(|base| *head.segments() == *segments || !self.is_kept(base))
            };
            let base = self.mapped(&head).or_else(by_role);
            if let Some(base) = base {
                let tail = segments[depth..].iter().cloned();
                return FolderPath::new(base.segments().iter().cloned().chain(tail));
            }
        }
        match &self.rules.prefix {
            Some(prefix) => path.below(prefix),
            None => path.clone(),
        }
    }

    fn mapped(&self, path: &FolderPath) -> Option<FolderPath> {
        let (_, target) = self.rules.map.iter().find(|(from, _)| from == path)?;
        Some(match target {
            FolderTarget::Path(path) => path.clone(),
            FolderTarget::Role(role) => self.role_path(*role, path).unwrap_or_else(|| path.clone()),
        })
    }

    /// Does `map` name it or one above it?
    fn is_mapped(&self, path: &FolderPath) -> bool {
        let covers = |from: &FolderPath| path.segments().starts_with(from.segments());
        self.rules.map.iter().any(|(from, _)| covers(from))
    }

    /// The same with its top folder renamed if the destination keeps that name for itself. A folder
    /// that is there and has a role takes mail like any other, as `[Gmail]/Sent Mail`.
    fn freed(&self, path: FolderPath) -> FolderPath {
        let has_role = |path| self.find(path).is_some_and(|there| there.folder.role.is_some());
        if !self.is_kept(&path) || has_role(&path) {
            return path;
        }
        let mut segments = path.segments().to_vec();
        if has_role(&FolderPath::new(segments[..1].iter().cloned())) {
            return path;
        }
        segments[0].push('=');
        FolderPath::new(segments)
    }

    /// Does the destination keep the name of its top folder for itself?
    fn is_kept(&self, path: &FolderPath) -> bool {
        let Some(top) = path.segments().first() else { return false };
        self.rules.names.reserved.iter().any(|name| name.to_lowercase() == top.to_lowercase())
    }

    fn by_role(&self, path: &FolderPath) -> Option<FolderPath> {
        if self.rules.prefix.is_some() {
            return None;
        }
        self.role_path(*self.source_roles.get(path)?, path)
    }

    /// The destination's folder of a role, for the source folder `asking`.
    fn role_path(&self, role: Role, asking: &FolderPath) -> Option<FolderPath> {
        if role == Role::Inbox {
            return Some(FolderPath::inbox());
        }
        let has = |s: &&FolderStatus| s.folder.role == Some(role) && s.selectable;
        let found = self.destination.iter().find(has)?;
        // A folder that only looks like it by its name may be the copy of another source folder
        // with that name: half-way through a seed, `Entwürfe` would take in `Drafts`.
        let path = &found.folder.path;
        let is_anothers = path != asking && self.source.iter().any(|s| s.folder.path == *path);
        (!found.role_guessed || !is_anothers).then(|| path.clone())
    }

    fn find(&self, path: &FolderPath) -> Option<&FolderStatus> {
        self.destination.iter().find(|s| s.folder.path == *path)
    }

    /// Fits each segment to the destination. `strict`: also what servers merely tend to refuse.
    fn fit(&self, path: &FolderPath, strict: bool) -> FolderPath {
        if path.is_inbox() {
            return path.clone();
        }
        let separator = self.naming.separator;
        let illegal = |c: char| {
            Some(c) == separator
                // A slash is refused by most servers even where it does not separate.
                || c == '/'
                || self.rules.names.illegal.contains(c)
                || c.is_control()
                || strict && (c.is_ascii_punctuation() && !"-_&'()+,@=".contains(c))
        };
        let mut segments: Vec<String> =
            path.segments().iter().map(|segment| escape(segment, illegal)).collect();
        if strict {
            for segment in &mut segments {
                *segment = escape_blanks(segment);
            }
        }
        // Below the namespace prefix `INBOX.` there is no room for another INBOX.
        if let Some(first) = segments.first_mut()
            && !self.naming.prefix.is_empty()
            && first.trim_end_matches('=').eq_ignore_ascii_case("INBOX")
        {
            first.push('=');
        }
        if separator.is_none() {
            // The written form keeps a subfolder apart from a segment with a slash in it.
            let written = FolderPath::new(segments).to_string();
            segments = vec![written.replace('/', "=2F")];
        }
        FolderPath::new(segments)
    }
}

/// What a folder was called whose name the destination keeps for itself.
fn reserved(path: &FolderPath) -> FolderPath {
    let mut segments = path.segments().to_vec();
    if let Some(last) = segments.last_mut().filter(|_| !path.is_inbox()) {
        last.push('=');
    }
    FolderPath::new(segments)
}

/// Blanks at either end are refused or cut by many servers, and one after the other by Gmail.
fn escape_blanks(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    let mut after_blank = true;
    let last = segment.trim_end_matches(' ').len();
    for (at, c) in segment.char_indices() {
        if c == ' ' && (after_blank || at >= last) {
            escaped.push_str("=20");
        } else {
            escaped.push(c);
        }
        after_blank = c == ' ';
    }
    escaped
}

#[cfg(test)]
mod tests;
