//! What drover writes is its owner's, whatever the umask, and lands nowhere else.

mod support;

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::Drover;

fn mode(path: &Path) -> u32 {
    let metadata = path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    metadata.permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("change a mode");
}

/// Everything at and below a path.
fn tree(path: PathBuf) -> Vec<PathBuf> {
    let mut found = vec![path.clone()];
    if path.is_dir() {
        let entries = path.read_dir().expect("read a directory");
        found.extend(entries.flat_map(|entry| tree(entry.expect("an entry").path())));
    }
    found
}

/// A command of this installation under another umask.
fn with_umask(drover: &Drover, umask: &str, arguments: &[&str]) -> Output {
    let command = drover.command(arguments);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(drover.path(".")).output().expect("run drover")
}

fn assert_private(state: PathBuf) {
    for path in tree(state) {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{} is {:o}", path.display(), mode(&path));
    }
}

#[test]
fn the_state_is_private_whatever_the_umask() {
    for umask in ["000", "022", "007"] {
        let drover = Drover::new();
        let output = with_umask(&drover, umask, &["status"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(drover.path("state/sled").is_dir());
        assert_private(drover.path("state"));
    }
}

#[test]
fn the_socket_is_private() {
    let mut drover = Drover::new();
    drover.start();
    assert_eq!(mode(&drover.path("drover.sock")), 0o600);
    assert_private(drover.path("state"));
}

#[test]
fn a_state_that_was_opened_to_others_is_closed_again() {
    let drover = Drover::new();
    drover.expect(0, &["status"]);
    for path in tree(drover.path("state")) {
        chmod(&path, if path.is_dir() { 0o777 } else { 0o666 });
    }
    let output = drover.run(&["status"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("chmod 700"), "the directory itself is warned of: {said}");
    chmod(&drover.path("state"), 0o700);
    assert_private(drover.path("state"));
}

#[test]
fn no_link_in_the_state_leads_drover_to_write_elsewhere() {
    for name in ["lock", "witness"] {
        let drover = Drover::new();
        drover.write("precious", "untouched\n");
        std::fs::create_dir(drover.path("state")).expect("make a directory");
        symlink(drover.path("precious"), drover.path("state").join(name)).expect("make a link");
        let output = drover.run(&["status"]);
        assert!(!output.status.success(), "state/{name} is a link, and was taken");
        let precious = std::fs::read_to_string(drover.path("precious")).expect("read it");
        assert_eq!(precious, "untouched\n", "through state/{name}");
    }
}

#[test]
fn what_is_no_socket_is_not_replaced_by_one() {
    let drover = Drover::new();
    drover.write("precious", "untouched\n");
    symlink(drover.path("precious"), drover.path("drover.sock")).expect("make a link");
    let output = drover.run(&["run"]);
    assert!(!output.status.success());
    let precious = std::fs::read_to_string(drover.path("precious")).expect("read it");
    assert_eq!(precious, "untouched\n");
}

#[test]
fn a_secret_file_that_others_can_read_is_warned_of() {
    let drover = Drover::new();
    drover.define(
        "x",
        "[source]\nhost = \"a.example\"\nauth = { password = { file = \"../secrets/pw\" } }\n\
         [destination]\nhost = \"b.example\"\nauth = { password = { file = \"../secrets/pw\" } }\n\
         [[mailboxes]]\nsource = \"a\"\ndestination = \"b\"\n",
    );
    let check = || {
        let output = drover.run(&["check"]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    chmod(&drover.path("secrets/pw"), 0o644);
    assert!(check().contains("chmod 600"), "{}", check());
    chmod(&drover.path("secrets/pw"), 0o600);
    assert!(!check().contains("chmod 600"), "{}", check());
}
