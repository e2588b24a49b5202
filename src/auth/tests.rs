use std::os::unix::fs::PermissionsExt;

use super::*;

fn file_with(bytes: &[u8]) -> (tempfile::TempDir, SecretRef) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, bytes).unwrap();
    (directory, SecretRef::File(path))
}

async fn value_of(secret: &SecretRef) -> Result<String, SecretError> {
    resolve(secret).await.map(|value| value.expose_secret().to_owned())
}

fn command(words: &[&str]) -> SecretRef {
    SecretRef::Command(words.iter().map(|&word| word.to_owned()).collect())
}

#[tokio::test]
async fn exactly_one_line_end_is_cut() {
    for (bytes, expected) in
        [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" p w ", " p w "), ("ü\n", "ü")]
    {
        let (_directory, secret) = file_with(bytes.as_bytes());
        assert_eq!(value_of(&secret).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_is_not_one_line_of_text_is_refused_without_showing_it() {
    let bad: [&[u8]; 8] =
        [b"", b"\n", b"\r\n", b"sesame\n\n", b"ses\name", b"sesame\r", b"ses\0ame", b"sesame\xff"];
    for bytes in bad {
        let (_directory, secret) = file_with(bytes);
        let error = value_of(&secret).await.unwrap_err();
        assert!(matches!(error, SecretError::Unusable(_)), "{bytes:?}: {error}");
        assert!(!format!("{error} {error:?} {}", error.remedy()).contains("ses"), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_file_says_where_to_put_it() {
    let directory = tempfile::tempdir().unwrap();
    let error = value_of(&SecretRef::File(directory.path().join("alice"))).await.unwrap_err();
    assert!(matches!(error, SecretError::File { .. }));
    assert!(error.remedy().contains("put the secret into"), "{}", error.remedy());
}

#[tokio::test]
async fn the_environment_is_read_and_its_absence_named() {
    let env = |name: &str| (name == "THERE").then(|| OsString::from("pw"));
    let there = resolve_with(&SecretRef::Env("THERE".into()), None, env).await.unwrap();
    assert_eq!(there.expose_secret(), "pw");
    let error = resolve_with(&SecretRef::Env("GONE".into()), None, env).await.unwrap_err();
    assert_eq!(error.to_string(), "the environment variable GONE is not set");
}

#[tokio::test]
async fn a_credential_lies_in_its_directory_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = directory.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("m365"), "pw\n").unwrap();
    std::fs::write(directory.path().join("outside"), "pw").unwrap();
    let read = async |name: &str, place: Option<&Path>| {
        let place = place.map(|place| place.as_os_str().to_owned());
        resolve_with(&SecretRef::Credential(name.into()), place, |_| None).await
    };
    assert_eq!(read("m365", Some(&credentials)).await.unwrap().expose_secret(), "pw");
    for name in ["../outside", "..", "", "nothing"] {
        let result = read(name, Some(&credentials)).await;
        assert!(matches!(result, Err(SecretError::Credential(_))), "{name}");
    }
    assert!(matches!(read("m365", None).await, Err(SecretError::Credential(_))));
}

#[tokio::test]
async fn a_command_runs_without_a_shell_and_with_nothing_to_read() {
    assert_eq!(value_of(&command(&["echo", "$HOME;"])).await.unwrap(), "$HOME;");
    let empty = value_of(&command(&["cat"])).await;
    assert!(matches!(empty, Err(SecretError::Unusable(_))));
}

#[tokio::test]
async fn a_failing_command_tells_its_status_and_nothing_it_printed() {
    let words = ["sh", "-c", "echo sesame; echo sesame >&2; exit 3"];
    let error = value_of(&command(&words)).await.unwrap_err();
    assert_eq!(error.to_string(), "the secret command `sh` failed: exit status: 3");
    let missing = value_of(&command(&["/nonexistent/pass"])).await.unwrap_err();
    assert!(matches!(missing, SecretError::Command { .. }));
}

#[tokio::test]
async fn a_command_that_hangs_is_given_up() {
    let words = ["sleep".to_owned(), "3600".to_owned()];
    let error = command::output(&words, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error, "no answer within 0.1 seconds");
}

#[tokio::test]
async fn a_command_that_prints_without_end_is_given_up_before_its_time() {
    let words = ["yes".to_owned()];
    let began = std::time::Instant::now();
    let error = command::output(&words, Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(error, "it prints more than a secret");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_command_that_is_given_up_takes_its_children_along() {
    let directory = tempfile::tempdir().unwrap();
    let alive = directory.path().join("alive");
    // A child of the child keeps writing, and keeps its end of the output open.
    let script =
        format!("(while :; do echo x >>{0}; sleep 0.02; done) & sleep 3600", alive.display());
    let words = ["sh".to_owned(), "-c".into(), script];
    command::output(&words, Duration::from_millis(400)).await.unwrap_err();
    let size = || std::fs::metadata(&alive).unwrap().len();
    assert!(size() > 0, "the child's child never ran");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let then = size();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(size(), then, "a child of the command is still at work");
}

#[tokio::test]
async fn a_command_that_leaves_its_output_to_a_child_is_bounded_too() {
    let words = ["sh".to_owned(), "-c".into(), "sleep 3600 & echo sesame".into()];
    let error = command::output(&words, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error, "no answer within 0.3 seconds");
}

#[test]
fn a_file_that_others_can_read_is_warned_of() {
    let (_directory, secret) = file_with(b"pw");
    let SecretRef::File(path) = &secret else { return };
    let chmod =
        |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o640);
    assert!(warnings(&secret).is_some_and(|warning| warning.contains("chmod 600")));
    chmod(0o600);
    assert_eq!(warnings(&secret), None);
    assert_eq!(warnings(&SecretRef::Env("X".into())), None);
}

#[tokio::test]
async fn the_digest_follows_the_value_and_not_its_origin() {
    let (_one, a) = file_with(b"sesame\n");
    let (_two, b) = file_with(b"sesame");
    let (_three, c) = file_with(b"other");
    let (a, b, c) =
        (digest(&a).await.unwrap(), digest(&b).await.unwrap(), digest(&c).await.unwrap());
    assert_eq!(a, b);
    assert_ne!(a, c);
    // Written into ledgers: must never change between versions.
    assert_eq!(a, "dc2c151ca3d99aca");
}
