//! The layers, held by reading the sources: arrows run only downward, and what is said to be
//! pure names nothing that could block, fail or tell the time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The layers from the ground up. A module may use those of the layers beneath its own, not its
/// neighbours.
const LAYERS: [&[&str]; 11] = [
    &["model"],
    &["preset"],
    &["definition"],
    &["config"],
    &["tls"],
    &["auth", "flow", "ledger"],
    &["platform"],
    &["sync"],
    &["controller"],
    &["control"],
    &["daemon"],
];

/// Arrows that run downward and are not wanted all the same: a platform knows no ledger.
const SHUNNED: [(&str, &str); 1] = [("platform", "ledger")];

fn height(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Libraries that belong to one place.
const KEPT: [(&str, &str); 5] = [
    ("sled", "ledger/"),
    ("async_imap", "platform/imap/"),
    ("imap_proto", "platform/imap/"),
    ("oauth2", "auth/"),
    ("reqwest", "auth/"),
];

/// Modules without I/O and without a clock, and what would give them away.
const PURE: [&str; 6] = [
    "model/",
    "sync/plan.rs",
    "sync/diff.rs",
    "sync/pairing.rs",
    "sync/naming.rs",
    "sync/preflight/finding.rs",
];
const IMPURE: [&str; 9] = [
    "tokio",
    "std::net",
    "std::fs",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
];

/// A source file below `src/`, without its comments and without its tests.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(files.len() > 50, "only {} files found", files.len());
    files.iter().filter_map(|file| read(&root, file)).collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("read a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Option<Source> {
    let path = file.strip_prefix(root).expect("below src").to_string_lossy().into_owned();
    if path.ends_with("tests.rs") || path.contains("/tests/") {
        return None;
    }
    let text = std::fs::read_to_string(file).expect("read a source file");
    // Unit tests stand at the end of a file.
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().enumerate().map(|(n, line)| {
        // A `//` in a string cuts too much only of a line that holds a URL.
        (n + 1, line.split("//").next().unwrap_or_default().to_owned())
    });
    Some(Source { path, lines: lines.collect() })
}

/// `word` where it is not a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// The modules of this crate that a file names, with the line of the first mention.
fn used(source: &Source) -> BTreeMap<String, usize> {
    let mut used = BTreeMap::new();
    let text: String = source.lines.iter().map(|(_, l)| format!("{l}\n")).collect();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + "crate::".len()..];
        // `use crate::{a::…, b::…}` names several.
        let modules: Vec<String> = match rest.strip_prefix('{') {
            Some(group) => roots(group),
            None => vec![word(rest)],
        };
        for module in modules {
            used.entry(module).or_insert(line);
        }
    }
    used
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first words of the entries of a braced list.
fn roots(group: &str) -> Vec<String> {
    let (mut depth, mut roots, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                roots.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    roots
}

fn is_used(line: &str, library: &str) -> bool {
    names(line, library) && line.contains(&format!("{library}::"))
}

fn layer(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn demand_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn arrows_run_only_downward() {
    let mut wrong = Vec::new();
    for source in sources() {
        let own = layer(&source.path);
        // The faces (`main`, `cli`, `lib`) may name everything.
        let Some(own_height) = height(own) else { continue };
        for (module, line) in used(&source) {
            let face = matches!(module.as_str(), "cli" | "main");
            let upward = height(&module).is_some_and(|height| height >= own_height);
            let shunned = SHUNNED.contains(&(own, module.as_str()));
            if module != own && (face || upward || shunned) {
                wrong.push(format!("src/{}:{line}: `{own}` may not use `{module}`", source.path));
            }
        }
    }
    demand_none(wrong);
}

#[test]
fn every_module_has_its_layer() {
    let faces = ["lib", "main", "cli", "telemetry", "fuzzing"];
    let mut wrong = Vec::new();
    for source in sources() {
        let own = layer(&source.path);
        if !faces.contains(&own) && height(own).is_none() {
            wrong.push(format!("src/{}: `{own}` has no layer in this test", source.path));
        }
    }
    demand_none(wrong);
}

#[test]
fn some_libraries_are_named_in_one_place_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (library, home) in KEPT.iter().filter(|(_, home)| !source.path.starts_with(home)) {
            for (line, _) in source.lines.iter().filter(|(_, l)| is_used(l, library)) {
                let path = &source.path;
                wrong.push(format!("src/{path}:{line}: only src/{home} may name `{library}`"));
            }
        }
    }
    demand_none(wrong);
}

#[test]
fn what_is_pure_does_no_io_and_reads_no_clock() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
            continue;
        }
        for (line, text) in &source.lines {
            for word in IMPURE.iter().filter(|word| names(text, word)) {
                wrong.push(format!("src/{}:{line}: `{word}` in a pure module", source.path));
            }
        }
    }
    demand_none(wrong);
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let source = |text: &str| Source {
        path: "x.rs".into(),
        lines: text.lines().enumerate().map(|(n, l)| (n + 1, l.to_owned())).collect(),
    };
    let found = used(&source("use crate::{\n  a::{b, c},\n  d,\n};\nlet x = crate::e::F;"));
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a", "d", "e"]);
    assert!(names("use tokio::net;", "tokio") && !names("use tokio_util::x;", "tokio"));
    assert!(is_used("db: sled::Db,", "sled") && !is_used("let sled = 1;", "sled"));
}
