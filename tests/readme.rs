//! What README.md shows, works: its definitions and settings are valid as they are printed.

use std::path::Path;

use assert_cmd::Command;

const README: &str = include_str!("../README.md");
const EXAMPLE: &str = include_str!("../config.example.toml");

/// The TOML examples of the README, in order.
fn examples() -> Vec<&'static str> {
    let blocks = README.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

/// Runs `drover check` on a file beside the secrets and the roster that the examples name.
fn check(directory: &Path, arguments: &[&str]) {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        std::fs::write(path, text).expect("write a file");
    };
    write("secrets/alice", "pw");
    write("credentials/old-master", "pw");
    let columns = "source,destination,source_password_file,destination_password_file";
    let row = "bob@old.example,bob@acme.example,secrets/alice,secrets/alice";
    write("wave-1.csv", &format!("{columns}\n{row}\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    command.current_dir(directory).env("CREDENTIALS_DIRECTORY", directory.join("credentials"));
    command.args(arguments).assert().success();
}

#[test]
fn its_definitions_are_valid_also_with_the_cutover_it_adds() {
    let examples = examples();
    let cutover = examples.iter().find(|text| text.starts_with("[cutover]")).expect("a cutover");
    let definitions: Vec<_> = examples.iter().filter(|text| text.contains("[source]")).collect();
    assert_eq!(definitions.len(), 2);
    for definition in definitions {
        let directory = tempfile::tempdir().expect("make a directory");
        let file = directory.path().join("example.toml");
        for text in [(*definition).to_string(), format!("{definition}\n{cutover}")] {
            std::fs::write(&file, &text).expect("write the definition");
            check(directory.path(), &["check", "example.toml"]);
        }
    }
}

#[test]
fn its_settings_and_the_example_file_are_valid() {
    let shown = examples().into_iter().find(|text| text.contains("socket")).expect("settings");
    for settings in [shown, EXAMPLE] {
        let directory = tempfile::tempdir().expect("make a directory");
        let definitions = directory.path().join("definitions");
        std::fs::create_dir(&definitions).expect("make a directory");
        let here = format!("\"{}\"", definitions.display());
        assert!(settings.contains("\"/etc/drover/definitions\""), "{settings}");
        let settings = settings.replace("\"/etc/drover/definitions\"", &here);
        std::fs::write(directory.path().join("config.toml"), settings).expect("write settings");
        check(directory.path(), &["--config", "config.toml", "check"]);
    }
}
