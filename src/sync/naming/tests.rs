use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::definition::NameRules;
use crate::model::FolderName;

fn slashes() -> Naming {
    Naming { separator: Some('/'), prefix: String::new() }
}

fn dots() -> Naming {
    Naming { separator: Some('.'), prefix: "INBOX.".into() }
}

fn flat() -> Naming {
    Naming { separator: None, prefix: String::new() }
}

fn status(path: &FolderPath, role: Option<Role>) -> FolderStatus {
    FolderStatus {
        folder: Folder {
            name: FolderName(path.to_string().into_bytes()),
            path: path.clone(),
            role,
        },
        role_guessed: false,
        selectable: true,
        messages: Some(0),
        epoch: None,
        next: None,
        cursor: None,
        store: None,
    }
}

fn tree(folders: &[(&str, Option<Role>)]) -> Vec<FolderStatus> {
    folders.iter().map(|(path, role)| status(&FolderPath::parse(path), *role)).collect()
}

/// Where each source folder goes, as text.
fn targets(
    rules: &FolderRules,
    naming: &Naming,
    source: &[(&str, Option<Role>)],
    destination: &[(&str, Option<Role>)],
) -> Vec<String> {
    let (source, destination) = (tree(source), tree(destination));
    let namer = Namer::new(rules, naming, &source, &destination);
    source.iter().map(|s| namer.target(&s.folder).path.to_string()).collect()
}

fn map(pairs: &[(&str, &str)]) -> FolderRules {
    let target = |to: &str| match Role::from_attribute(to) {
        Some(role) => FolderTarget::Role(role),
        None => FolderTarget::Path(FolderPath::parse(to)),
    };
    let pair = |(from, to): &(&str, &str)| (FolderPath::parse(from), target(to));
    FolderRules { map: pairs.iter().map(pair).collect(), ..FolderRules::default() }
}

const SENT: Option<Role> = Some(Role::Sent);
const TRASH: Option<Role> = Some(Role::Trash);

#[test]
fn a_folder_that_only_looks_like_the_role_does_not_take_in_another() {
    let source = tree(&[("Drafts", Some(Role::Drafts)), ("Entwürfe", None)]);
    let mut destination = tree(&[("Entwürfe", Some(Role::Drafts))]);
    let (rules, naming) = (FolderRules::default(), slashes());
    let went = |destination: &[FolderStatus]| {
        let namer = Namer::new(&rules, &naming, &source, destination);
        source.iter().map(|s| namer.target(&s.folder).path.to_string()).collect::<Vec<_>>()
    };
    // By the server's word it is the drafts folder; both belong there.
    assert_eq!(went(&destination), ["Entwürfe", "Entwürfe"]);
    destination[0].role_guessed = true;
    assert_eq!(went(&destination), ["Drafts", "Entwürfe"]);
}

#[test]
fn a_folder_goes_to_the_one_with_its_role_and_takes_its_subfolders_along() {
    let there = [("Sent Items", SENT), ("INBOX", Some(Role::Inbox))];
    let here = [("Gesendet", SENT), ("Gesendet/2024", None), ("Papierkorb", TRASH)];
    let went = targets(&FolderRules::default(), &slashes(), &here, &there);
    // There is no trash at the destination: it keeps its name.
    assert_eq!(went, ["Sent Items", "Sent Items/2024", "Papierkorb"]);
}

#[test]
fn a_folder_with_a_role_below_a_name_that_the_destination_keeps_takes_mail_and_no_folders() {
    let names = NameRules { reserved: vec!["[Gmail]".into()], ..NameRules::default() };
    let rules = FolderRules { names, ..FolderRules::default() };
    let there = [("INBOX", Some(Role::Inbox)), ("[Gmail]/Sent Mail", SENT)];
    let here = [("Sent Items", SENT), ("Sent Items/2024", None), ("[Gmail]/Work", None)];
    let went = targets(&rules, &slashes(), &here, &there);
    assert_eq!(went, ["[Gmail]/Sent Mail", "Sent Items/2024", "[Gmail]=/Work"]);
}

#[test]
fn a_map_is_stronger_than_a_role_and_the_nearest_ancestor_decides() {
    let there = [("Sent Items", SENT), ("Deleted", TRASH)];
    let here =
        [("Gesendet", SENT), ("Gesendet/alt", None), ("Gesendet/alt/x", None), ("Weg", None)];
    let rules = map(&[("Gesendet", "Old/Sent"), ("Gesendet/alt", "Attic"), ("Weg", "\\Trash")]);
    let went = targets(&rules, &slashes(), &here, &there);
    assert_eq!(went, ["Old/Sent", "Attic", "Attic/x", "Deleted"]);
}

#[test]
fn a_map_to_a_role_that_is_not_there_keeps_the_name() {
    let went = targets(&map(&[("Weg", "\\Trash")]), &slashes(), &[("Weg", None)], &[]);
    assert_eq!(went, ["Weg"]);
}

#[test]
fn everything_goes_below_a_prefix_but_what_is_mapped() {
    let there = [("Sent Items", SENT)];
    let here = [("INBOX", Some(Role::Inbox)), ("Gesendet", SENT), ("A/b", None), ("M", None)];
    let mut rules = map(&[("M", "Elsewhere")]);
    rules.prefix = Some(FolderPath::parse("Imported/Acme"));
    let went = targets(&rules, &slashes(), &here, &there);
    let below = ["Imported/Acme/INBOX", "Imported/Acme/Gesendet", "Imported/Acme/A/b"];
    assert_eq!(went, [&below[..], &["Elsewhere"]].concat());
}

#[test]
fn two_folders_may_be_mapped_to_one() {
    let rules = map(&[("A", "Both"), ("B", "Both")]);
    assert_eq!(targets(&rules, &slashes(), &[("A", None), ("B", None)], &[]), ["Both", "Both"]);
}

#[test]
fn what_separates_at_the_destination_is_escaped_in_a_name() {
    let here = [("v1.2/a=2Eb", None), ("x=2Fy", None), ("Mr. Q", None)];
    let went = targets(&FolderRules::default(), &dots(), &here, &[]);
    // The written form escapes once more what looks like an escape, and reads `=2E` as a dot.
    let shown = |segments: &[&str]| FolderPath::new(segments.iter().copied()).to_string();
    assert_eq!(went, [shown(&["v1=2E2", "a=2Eb"]), shown(&["x=2Fy"]), shown(&["Mr=2E Q"])],);
}

#[test]
fn without_a_separator_a_subfolder_is_not_taken_for_a_name_with_a_slash() {
    let paths = [FolderPath::new(["a", "b"]), FolderPath::new(["a/b"]), FolderPath::new(["a=2Fb"])];
    let source: Vec<FolderStatus> = paths.iter().map(|p| status(p, None)).collect();
    let (rules, naming) = (FolderRules::default(), flat());
    let namer = Namer::new(&rules, &naming, &source, &[]);
    let names: Vec<FolderName> = source.iter().map(|s| namer.target(&s.folder).name).collect();
    let wanted = ["a=2Fb", "a=3D2Fb", "a=3D3D2Fb"];
    assert_eq!(names, wanted.map(|name| FolderName(name.into())));
}

#[test]
fn a_folder_that_was_made_under_its_cautious_name_is_found_again() {
    let naming = slashes();
    let wanted = FolderPath::new(["What?"]);
    let (source, none) = (vec![status(&wanted, None)], Vec::new());
    let rules = FolderRules::default();
    let first = Namer::new(&rules, &naming, &source, &none).target(&source[0].folder);
    let (_, strict) = first.strict_name.expect("a question mark is risky");
    let there = vec![status(&strict, None)];
    let again = Namer::new(&rules, &naming, &source, &there).target(&source[0].folder);
    assert_eq!((again.path, again.exists), (strict, true));
}

/// Names as people and bugs make them.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-cA-C ./\\\\=%*\"~&]{1,5}",
        2 => "[ä-ü日本語📬\u{1}\u{7f}\u{85}\t]{1,3}",
        2 => prop::sample::select(vec![
            "INBOX", "inbox", "Inbox", "INBOX=", "INBOX==", "=2E", "=2F", "=3D2F", "=20", " ", "  ",
            ".", "..", "a.b", "a/b", "a=2Fb", "a=2Eb", " a", "a ", "=20a", "a=20", "&", "&-", "=",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>().prop_filter("not empty", |s| !s.is_empty()),
    ]
}

fn path() -> impl Strategy<Value = FolderPath> {
    prop::collection::vec(segment(), 1..4).prop_map(FolderPath::new)
}

fn naming() -> impl Strategy<Value = Naming> {
    prop::sample::select(vec![
        slashes(),
        dots(),
        flat(),
        Naming { separator: Some('.'), prefix: String::new() },
        Naming { separator: Some('\\'), prefix: String::new() },
        Naming { separator: Some('/'), prefix: "INBOX/".into() },
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn two_folders_never_become_one_and_every_name_is_legal(
        paths in prop::collection::btree_set(path(), 1..8),
        naming in naming(),
    ) {
        let source: Vec<FolderStatus> = paths.iter().map(|p| status(p, None)).collect();
        let rules = FolderRules::default();
        let namer = Namer::new(&rules, &naming, &source, &[]);
        let mut taken: BTreeMap<FolderName, FolderPath> = BTreeMap::new();
        for one in &source {
            let target = namer.target(&one.folder);
            let strict = target.strict_name.clone().map(|(name, _)| name);
            for name in [Some(target.name.clone()), strict].into_iter().flatten() {
                let held = taken.entry(name).or_insert_with(|| one.folder.path.clone());
                prop_assert_eq!(&*held, &one.folder.path, "share a name");
            }
            for segment in target.path.segments() {
                prop_assert!(!segment.is_empty());
                prop_assert!(!segment.chars().any(char::is_control), "{:?}", segment);
                prop_assert!(!segment.contains('/'), "{:?}", segment);
                prop_assert!(naming.separator.is_none_or(|s| !segment.contains(s)), "{:?}", segment);
            }
            if naming.separator.is_none() {
                prop_assert_eq!(target.path.segments().len(), 1);
            }
        }
    }

    #[test]
    fn a_folder_is_found_again_where_it_was_made(
        paths in prop::collection::btree_set(path(), 1..6),
        naming in naming(),
        cautious in any::<bool>(),
    ) {
        let source: Vec<FolderStatus> = paths.iter().map(|p| status(p, None)).collect();
        let rules = FolderRules::default();
        let made: Vec<Target> = {
            let namer = Namer::new(&rules, &naming, &source, &[]);
            source.iter().map(|s| namer.target(&s.folder)).collect()
        };
        let choose = |t: &Target| match &t.strict_name {
            Some((name, path)) if cautious => (name.clone(), path.clone()),
            _ => (t.name.clone(), t.path.clone()),
        };
        let there: Vec<FolderStatus> = made
            .iter()
            .map(|t| {
                let (name, path) = choose(t);
                let folder = Folder { name, path, role: None };
                FolderStatus { folder, ..status(&FolderPath::inbox(), None) }
            })
            .collect();
        let namer = Namer::new(&rules, &naming, &source, &there);
        for (one, before) in source.iter().zip(&made) {
            let again = namer.target(&one.folder);
            prop_assert!(again.exists);
            prop_assert_eq!(again.name, choose(before).0);
        }
    }
}

#[test]
fn blanks_that_servers_refuse_or_cut_are_escaped() {
    let said =
        [("a b", "a b"), (" a", "=20a"), ("a ", "a=20"), ("a  b", "a =20b"), ("  ", "=20=20")];
    for (name, escaped) in said {
        assert_eq!(escape_blanks(name), escaped);
    }
}
