//! The systemd unit: valid, as confined as promised, and with directories drover can use.
//!
//! Where systemd's tools are missing the tests say so and pass; CI installs them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

const UNIT: &str = include_str!("../systemd/drover.service");

#[test]
fn the_unit_is_valid() {
    let dir = tempfile::tempdir().expect("a directory");
    let unit = dir.path().join("drover.service");
    // Verifying looks whether the program exists; ours is installed only later.
    let text = UNIT.replace("/usr/bin/drover", env!("CARGO_BIN_EXE_drover"));
    std::fs::write(&unit, &text).expect("write the unit");
    let Some(out) = systemd("systemd-analyze", &["verify", "--man=no"], &unit) else { return };
    assert!(out.status.success() && out.stderr.is_empty(), "{}", text_of(&out));

    std::fs::write(&unit, text.replace("Restart=", "Restrat=")).expect("write the unit");
    let Some(out) = systemd("systemd-analyze", &["verify", "--man=no"], &unit) else { return };
    assert!(text_of(&out).contains("Restrat"), "a broken unit must be told: {}", text_of(&out));
}

#[test]
fn the_unit_is_exposed_by_at_most_two_points_of_ten() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/drover.service");
    let args = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let Some(out) = systemd("systemd-analyze", &args, &unit) else { return };
    assert!(out.status.success(), "{}", text_of(&out));
}

#[test]
fn exit_codes_that_a_restart_cannot_mend_do_not_restart() {
    assert!(UNIT.lines().any(|line| line == "RestartPreventExitStatus=4 64 78"));
    assert!(UNIT.lines().any(|line| line == "Restart=on-failure"));
}

#[test]
fn the_directories_are_readable_for_drover_and_closed_to_others() {
    let root = tempfile::tempdir().expect("a directory");
    if root.path().metadata().expect("our directory").uid() != 0 {
        println!("not checked: making users below another root needs root");
        return;
    }
    std::fs::create_dir(root.path().join("etc")).expect("make etc");
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let at = format!("--root={}", root.path().display());
    let Some(out) = systemd("systemd-sysusers", &[&at], &files.join("drover.sysusers")) else {
        return;
    };
    assert!(out.status.success(), "{}", text_of(&out));
    let file = files.join("drover.tmpfiles");
    let Some(out) = systemd("systemd-tmpfiles", &[&at, "--create"], &file) else { return };
    assert!(out.status.success(), "{}", text_of(&out));

    let groups = std::fs::read_to_string(root.path().join("etc/group")).expect("the groups");
    let drover = groups.lines().find_map(|line| line.strip_prefix("drover:x:")).expect("a group");
    let gid: u32 = drover.trim_end_matches(':').parse().expect("a number");
    for (path, mode, group) in [
        ("etc/drover", 0o750, gid),
        ("etc/drover/definitions", 0o2750, gid),
        ("etc/drover/secrets", 0o700, 0),
    ] {
        let metadata = root.path().join(path).metadata().expect("a directory");
        assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (mode, group), "{path}");
    }
}

/// Runs one of systemd's tools on `file`; none if it is not installed.
fn systemd(tool: &str, args: &[&str], file: &Path) -> Option<Output> {
    match Command::new(tool).args(args).arg(file).output() {
        Ok(out) => Some(out),
        Err(e) => {
            println!("not checked: {tool}: {e} (Debian: apt-get install systemd)");
            None
        }
    }
}

fn text_of(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}
