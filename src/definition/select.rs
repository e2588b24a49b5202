//! Which folders and messages take part in a migration.

use globset::{GlobBuilder, GlobMatcher};

use super::DateRange;
use crate::model::{Folder, FolderPath, Meta, Role};

/// The rules of `[select]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// By INTERNALDATE.
    pub dates: DateRange,
    /// Larger messages are left out, in bytes.
    pub max_size: Option<u64>,
    /// Only these folders; empty: all.
    pub include: Vec<FolderPattern>,
    /// Not these; stronger than `include`.
    pub exclude: Vec<FolderPattern>,
    /// Nor these with what is below them, in any case of letters: folders of the source that hold
    /// no mail. They take part where `include` names them.
    pub left_out: Vec<FolderPath>,
}

impl Selection {
    /// Does the folder take part? Views (`\All`, `\Flagged`, `\Important`) do only where
    /// `include` names them, for their messages live elsewhere too.
    pub fn takes_folder(&self, folder: &Folder) -> bool {
        let hit = |patterns: &[FolderPattern]| patterns.iter().any(|p| p.matches(folder));
        if hit(&self.exclude) {
            return false;
        }
        if folder.role.is_some_and(Role::is_view) {
            let named =
                |p: &FolderPattern| matches!(p, FolderPattern::Role(r) if folder.role == Some(*r));
            return self.include.iter().any(named);
        }
        if self.leaves_out(&folder.path) {
            return self.include.iter().any(|pattern| pattern.names(folder));
        }
        self.include.is_empty() || hit(&self.include)
    }

    /// Is it one of the source's folders that hold no mail, or below one?
    pub fn leaves_out(&self, path: &FolderPath) -> bool {
        self.left_out.iter().any(|root| {
            let (root, path) = (root.segments(), path.segments());
            let same = |(a, b): (&String, &String)| a.to_lowercase() == b.to_lowercase();
            root.len() <= path.len() && root.iter().zip(path).all(same)
        })
    }

    /// Does a message take part? One without a date is within every range.
    pub fn takes(&self, meta: &Meta) -> bool {
        let day = meta.date.map(|d| d.to_utc().date_naive());
        self.max_size.is_none_or(|max| meta.size <= max)
            && day.is_none_or(|day| {
                self.dates.since.is_none_or(|since| day >= since)
                    && self.dates.before.is_none_or(|before| day < before)
            })
    }
}

/// One entry of `include` or `exclude`: a role (`\Sent`), or a glob on the folder's path in
/// which `*` stays within a segment, `**` does not, and `X/**` also means `X` itself.
#[derive(Debug, Clone)]
pub enum FolderPattern {
    /// The folder with this role.
    Role(Role),
    /// Folders whose path matches.
    Glob(GlobMatcher),
}

impl PartialEq for FolderPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Role(a), Self::Role(b)) => a == b,
            (Self::Glob(a), Self::Glob(b)) => a.glob() == b.glob(),
            _ => false,
        }
    }
}

impl FolderPattern {
    /// Reads one entry.
    ///
    /// # Errors
    /// A backslash word that is no role, or a glob that does not parse; says which.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('\\') {
            return Role::from_attribute(text).map(Self::Role).ok_or_else(|| {
                let known = Role::ALL.map(Role::attribute).join(" ");
                format!("`{text}` is no special-use name; known are {known}")
            });
        }
        // The inbox is spelt in one way here, and in any by people (RFC 9051, 5.1).
        let text = match text.split_at_checked("INBOX".len()) {
            Some((first, rest))
                if first.eq_ignore_ascii_case("INBOX")
                    && (rest.is_empty() || rest.starts_with('/')) =>
            {
                &format!("INBOX{rest}")
            }
            _ => text,
        };
        GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map(|glob| Self::Glob(glob.compile_matcher()))
            .map_err(|error| format!("`{text}` is no glob: {}", error.kind()))
    }

    /// Does it match, and mean just this folder's tree: by its role, or by the name at the top?
    fn names(&self, folder: &Folder) -> bool {
        let is_plain = match self {
            Self::Role(_) => true,
            Self::Glob(glob) => {
                let top = glob.glob().glob().split('/').next().unwrap_or_default();
                !top.contains(['*', '?', '[', '{'])
            }
        };
        is_plain && self.matches(folder)
    }

    fn matches(&self, folder: &Folder) -> bool {
        match self {
            Self::Role(role) => folder.role == Some(*role),
            Self::Glob(glob) => {
                let path = folder.path.to_string();
                glob.is_match(&path)
                    || glob.glob().glob().strip_suffix("/**").is_some_and(|root| root == path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FolderName, FolderPath};

    fn folder(path: &str, role: Option<Role>) -> Folder {
        Folder { name: FolderName(path.into()), path: FolderPath::parse(path), role }
    }

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let of = |list: &[&str]| list.iter().map(|p| FolderPattern::parse(p).unwrap()).collect();
        Selection { include: of(include), exclude: of(exclude), ..Selection::default() }
    }

    fn takes(selection: &Selection, paths: &[&str]) -> Vec<bool> {
        paths.iter().map(|path| selection.takes_folder(&folder(path, None))).collect()
    }

    #[test]
    fn one_star_stays_within_a_segment_and_two_do_not() {
        let paths = ["P", "P/a", "P/a/b", "Pa"];
        assert_eq!(takes(&selection(&["P/*"], &[]), &paths), [false, true, false, false]);
        assert_eq!(takes(&selection(&["P/**"], &[]), &paths), [true, true, true, false]);
        assert_eq!(takes(&selection(&[], &["P/**"]), &paths), [false, false, false, true]);
    }

    #[test]
    fn exclude_is_stronger_than_include() {
        assert_eq!(takes(&selection(&["a"], &["a"]), &["a", "b"]), [false, false]);
    }

    #[test]
    fn the_inbox_may_be_spelt_in_any_case() {
        let paths = ["INBOX", "INBOX/a", "Inboxes"];
        assert_eq!(takes(&selection(&["Inbox"], &[]), &paths), [true, false, false]);
        assert_eq!(takes(&selection(&["inbox/*"], &[]), &paths), [false, true, false]);
    }

    #[test]
    fn what_holds_no_mail_takes_part_only_by_name() {
        let leaving_out = |include: &[&str], exclude: &[&str]| Selection {
            left_out: ["Notes", "a/b"].map(FolderPath::parse).to_vec(),
            ..selection(include, exclude)
        };
        let paths = ["INBOX", "notes", "Notes/x", "Noteship", "a", "a/B", "x/Notes"];
        let taken = |include: &[&str], exclude: &[&str]| {
            let taken = takes(&leaving_out(include, exclude), &paths);
            let taken = paths.into_iter().zip(taken).filter(|(_, takes)| *takes);
            taken.map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(taken(&[], &[]), ["INBOX", "Noteship", "a", "x/Notes"]);
        assert_eq!(taken(&["**"], &[]), ["INBOX", "Noteship", "a", "x/Notes"]);
        assert_eq!(taken(&["*", "Notes/**"], &[]), ["INBOX", "Notes/x", "Noteship", "a"]);
        assert_eq!(taken(&["notes", "a/*"], &[]), ["notes", "a/B"]);
        assert_eq!(taken(&["notes", "a/*"], &["notes"]), ["a/B"]);
    }

    #[test]
    fn views_take_part_only_by_name() {
        let all = folder("All Mail", Some(Role::All));
        assert!(!selection(&[], &[]).takes_folder(&all));
        assert!(!selection(&["**"], &[]).takes_folder(&all));
        assert!(selection(&["\\All"], &[]).takes_folder(&all));
        assert!(!selection(&["\\All"], &["\\All"]).takes_folder(&all));
    }
}
