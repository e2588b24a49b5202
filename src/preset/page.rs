//! docs/platforms.md, written from the presets. `UPDATE_DOCS=1` writes it anew.

use std::fmt::Write;

use super::{PRESETS, Preset, Tls};

const HEAD: &str = "\
# Platforms

What drover knows of mail systems. `platform = \"…\"` in `[source]` or `[destination]` fills in what
stands here; a key of the definition always wins. An administrator's part is under each platform.
This page is written from the tables in `src/preset/`, whose comments say what is uncertain there.

An account that lives elsewhere: write `host`, and `port` and `tls` if they differ. Any other
server: `platform = \"imap\"`, which knows nothing but the names of special folders in many languages
(so do all others).

| platform | for | host | sign-in (`method`) | connections |
|---|---|---|---|---|
";

/// Which test shows what, and against what.
const TRIED: &str = "
## What works, and how it was tried

All by IMAP; their own interfaces (Gmail API, Microsoft Graph, EWS) are not there yet. *Stand-in*: a server in
`tests/support/standin/` that behaves as the platform's documents and others' observations say, held against
imaplib, imapclient and imapflow by `tests/standin/`. Nothing was tried against the platforms themselves.

| platform | as a source | as a destination | tried against |
|---|---|---|---|
| `gmail` | works: each message once, placed by its labels; [tests/gmail/main.rs](../tests/gmail/main.rs), [recipes](../tests/recipes/main.rs) | works; a message with several labels is written once; 500 MB a day; [tests/gmail/main.rs](../tests/gmail/main.rs), [recipes](../tests/recipes/main.rs), [tests/day_budget.rs](../tests/day_budget.rs) | stand-in |
| `microsoft365` | works; all flags are read in each pass, for it has no CONDSTORE; [recipes](../tests/recipes/main.rs) | works; keywords are lost; [tests/platforms.rs](../tests/platforms.rs), [recipes](../tests/recipes/main.rs) | stand-in; single quirks: Dovecot behind a proxy |
| `exchange` | works, also by a master user; [recipes](../tests/recipes/main.rs) | as `microsoft365`; [tests/platforms.rs](../tests/platforms.rs) | stand-in |
| `yahoo`, `aol` | works, the whole of a folder by UIDONLY; [tests/yahoo.rs](../tests/yahoo.rs), [recipes](../tests/recipes/main.rs) | works; [tests/yahoo.rs](../tests/yahoo.rs) | stand-in |
| `skyconnect`, `vaultastic` | works: `INBOX.` and dots; [tests/platforms.rs](../tests/platforms.rs) | works; [tests/platforms.rs](../tests/platforms.rs) | Dovecot with that namespace |
| `netease` | the `ID` is sent that it wants; [tests/platforms.rs](../tests/platforms.rs) | the same | Dovecot behind a proxy |
| all others | as `imap`; [tests/laws.rs](../tests/laws.rs) and most others, [tests/objects.rs](../tests/objects.rs) | as `imap` | Dovecot, pymap; their own quirks (vetoes, limits, folders) are presets only |

By whatever an account is entered, it is the same on both sides:

| `method` | tried by | against |
|---|---|---|
| `password` (app passwords, authorisation codes) | most tests | Dovecot, pymap, stand-ins |
| `master-user` | [tests/master_user.rs](../tests/master_user.rs), [exchange-o365](../tests/recipes/main.rs) | Dovecot; stand-in (`DOMAIN\\admin\\alias`) |
| `service-account` | [tests/sign_in.rs](../tests/sign_in.rs), [gmail-o365, gmail-gmail and others](../tests/recipes/main.rs) | oidc-provider (JWT bearer), Dovecot that validates its tokens, stand-in |
| `client-credentials`, with a secret or a certificate | [tests/sign_in.rs](../tests/sign_in.rs), [o365-o365 and others](../tests/recipes/main.rs) | the same |
| `refresh-token`, and `drover auth login` | [tests/sign_in.rs](../tests/sign_in.rs), [tests/kept_tokens.rs](../tests/kept_tokens.rs), [tests/login.rs](../tests/login.rs) | oidc-provider (device codes, PKCE, rotation), Dovecot |
";

const KEYS: &str = "
## Folders that are not copied

Some servers list folders that hold no mail. They are left out with what is below them, in any
case of letters, and the first pass says which had something in them. To take one in, name it in
`include`; a pattern that begins with a wildcard does not name it:

```toml
[select]
include = [\"**\", \"Notes\"]     # everything, and Notes
```

or say which are left out instead: `left_out = [\"Calendar\", \"Contacts\"]` in `[source]`; `left_out = []`
for none. Views (`\\All`, `\\Flagged`, `\\Important`) are never copied unless `include` names their role.

## Keys that win over a platform's

| key | in | instead of |
|---|---|---|
| `host`, `port`, `tls`, `connections` | both | what the table above says |
| `token_url`, `authorize_url`, `device_url`, `scopes` in `auth` | both | the provider's OAuth server, and what it is asked for |
| `daily_bytes` | both | what an account gives or takes in 24 hours |
| `veto` | both | capabilities that are announced and do not work |
| `id` | both | what the server is told of drover besides its name and version |
| `left_out` | `[source]` | folders that are not copied |
| `window` | `[source]` | how many messages of a folder are shown at most; `0`: all |
| `max_message` | `[destination]` | the largest message that is tried, where the server does not say |
| `drop_keywords` | `[destination]` | keywords that are not written |
| `rewrites` | both | whether messages are compared by their decoded parts, not byte by byte ([verify.md](verify.md)) |
| `late_flags` | `[destination]` | flags that are stored after APPEND, which loses them |
| `reserved_names` | `[destination]` | top folders that the server keeps for itself: others of that name get a `=` at the end, unless the folder is there and has a role, or `map` says where it goes |
| `illegal_characters` | `[destination]` | characters that folder names cannot hold; they are written as `=7C` |
";

/// The page as it should be.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for preset in PRESETS.iter() {
        row(&mut page, preset).expect("a text takes any text");
    }
    page.push_str(TRIED);
    page.push_str(KEYS);
    for preset in PRESETS.iter() {
        details(&mut page, preset).expect("a text takes any text");
    }
    page
}

fn row(page: &mut String, preset: &Preset) -> std::fmt::Result {
    let port = preset.port.unwrap_or(preset.tls.imap_port());
    let tls = match preset.tls {
        Tls::Implicit => "",
        Tls::Starttls => ", STARTTLS",
        Tls::None => ", no TLS",
    };
    let host = match &preset.host {
        Some(host) => format!("`{host}:{port}`{tls}"),
        None => format!("yours, port {port}{tls}"),
    };
    let auth = match preset.auth.is_empty() {
        true => "as the server likes".into(),
        false => code(&preset.auth),
    };
    let Preset { name, title, connections, .. } = preset;
    writeln!(page, "| `{name}` | {title} | {host} | {auth} | {connections} |")
}

fn details(page: &mut String, preset: &Preset) -> std::fmt::Result {
    let mut lines = Vec::new();
    lines.extend(preset.page.as_ref().map(|page| format!("To be prepared at: {page}")));
    lines.extend(preset.auth_note.as_ref().map(|note| format!("Sign-in: {note}.")));
    let oauth = &preset.oauth;
    if oauth.token_url.is_some() {
        let by_device =
            if oauth.device_url.is_some() { ", with or without `--device`" } else { "" };
        let tenant = if oauth.has_tenants() { "`tenant` and " } else { "" };
        lines.push(format!(
            "`refresh-token` needs {tenant}`client_id`; `drover auth login` gets the token{by_device}."
        ));
    }
    lines.extend(preset.master_form.as_ref().map(|form| format!("Master user's login: `{form}`.")));
    lines.extend(preset.notes.iter().cloned());
    if let Some(most) = preset.max_message {
        let mib = most as f64 / f64::from(1 << 20);
        lines.push(format!("Largest message, where the server does not say: {mib:.0} MiB."));
    }
    for (bytes, what) in [(preset.daily_read, "Read"), (preset.daily_written, "Written")] {
        lines.extend(bytes.map(|n| format!("{what} in 24 hours, at most: {} MB.", n / 1_000_000)));
    }
    let list = |title: &str, names: Vec<String>| match names.is_empty() {
        true => None,
        false => Some(format!("{title}: {}.", code(&names))),
    };
    let left_out = preset.left_out.iter().map(ToString::to_string).collect();
    lines.extend(list("Not copied from it", left_out));
    lines.extend(list("Announced, not used", preset.veto.clone()));
    lines.extend(list("Keywords not written to it", preset.drop_keywords.clone()));
    lines.extend(list("Stored after APPEND", preset.late_flags.clone()));
    lines.extend(list("Top folders it keeps for itself", preset.reserved_names.clone()));
    let illegal = preset.illegal_characters.chars().map(String::from).collect();
    lines.extend(list("Not in folder names", illegal));
    let told = preset.id.iter().map(|(name, value)| format!("{name} = {value}"));
    lines.extend(list("It is told", told.collect()));
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n## {}\n", preset.title)?;
    for line in lines {
        writeln!(page, "- {line}")?;
    }
    Ok(())
}

fn code(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Administrators read docs/platforms.md; it is written from the tables.
#[test]
fn the_page_of_platforms_is_what_the_presets_say() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/platforms.md");
    let written = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &written).expect("docs/ can be written to");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, page,
        "docs/platforms.md is not what the presets say; write it anew with \
         UPDATE_DOCS=1 cargo test --lib the_page_of_platforms"
    );
}
