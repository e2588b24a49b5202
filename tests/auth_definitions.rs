//! `auth` in a definition: the ways of signing in with access tokens, and what is wrong with them.

use std::path::Path;

use drover::definition::*;

/// A definition whose source has this `auth`, and whose one mailbox has these keys of its own.
fn text(auth: &str, own: &str) -> String {
    format!(
        "[source]\nhost = \"mail.example\"\nauth = {{ {auth} }}\n[destination]\n\
         host = \"new.example\"\nauth = {{ password = {{ env = \"NEW\" }} }}\n[[mailboxes]]\n\
         source = \"alice@old.example\"\ndestination = \"alice@new.example\"\n{own}\n"
    )
}

#[track_caller]
fn grant(auth: &str, own: &str) -> Grant {
    let loaded = load_text("acme", &text(auth, own), Path::new("/herd"));
    let loaded = loaded.unwrap_or_else(|r| panic!("{}", render_all(&r.diagnostics, false)));
    match &loaded.migration.mailboxes[0].source.login {
        Login::Token(grant) => grant.clone(),
        other => panic!("{other:?}"),
    }
}

/// What is reported of a definition that must not load.
#[track_caller]
fn refused(auth: &str, own: &str) -> String {
    let loaded = load_text("acme", &text(auth, own), Path::new("/herd"));
    render_all(&loaded.expect_err("it must not load").diagnostics, false)
}

fn file(name: &str) -> SecretRef {
    SecretRef::File(Path::new("/herd").join(name))
}

#[test]
fn a_service_account_needs_its_key_file_and_asks_for_what_an_administrator_may_see() {
    let auth = "method = \"service-account\", key = { file = \"google.json\" }";
    let expected = Grant::ServiceAccount {
        key: file("google.json"),
        token_url: None,
        ca_file: None,
        scopes: vec!["https://www.googleapis.com/auth/gmail.imap_admin".into()],
        otherwise: vec!["https://mail.google.com/".into()],
    };
    assert_eq!(grant(auth, ""), expected);
    assert!(refused("method = \"service-account\"", "").contains("`key` is missing"));
    let Grant::ServiceAccount { scopes, otherwise, .. } =
        grant(&format!("{auth}, scopes = [\"https://mail.google.com/\"]"), "")
    else {
        panic!("another grant")
    };
    assert_eq!(scopes, ["https://mail.google.com/"]);
    assert!(otherwise.is_empty(), "what is written is asked for and nothing else");
}

#[test]
fn an_application_of_a_tenant_asks_entra_id_for_its_default_scope() {
    let auth = "method = \"client-credentials\", tenant = \"acme.example\", client_id = \"app\", \
                client_secret = { env = \"S\" }";
    let expected = Grant::ClientCredentials {
        client_id: "app".into(),
        proof: ClientProof::Secret(SecretRef::Env("S".into()).into()),
        token_url: "https://login.microsoftonline.com/acme.example/oauth2/v2.0/token"
            .parse()
            .unwrap(),
        ca_file: None,
        scopes: vec!["https://outlook.office365.com/.default".into()],
    };
    assert_eq!(grant(auth, ""), expected);
}

#[test]
fn an_application_may_prove_itself_by_certificate_anywhere() {
    let auth = "method = \"client-credentials\", client_id = \"app\", scopes = [\"a\", \"b\"], \
                token_url = \"https://login.example/token\", \
                certificate = { file = \"c.pem\" }, private_key = { file = \"k.pem\" }";
    let Grant::ClientCredentials { proof, token_url, scopes, .. } = grant(auth, "") else {
        panic!("another grant")
    };
    let (certificate, private_key) = (file("c.pem"), file("k.pem"));
    assert_eq!(proof, ClientProof::Certificate { certificate, private_key });
    assert_eq!(token_url.as_str(), "https://login.example/token");
    assert_eq!(scopes, ["a", "b"]);
}

#[test]
fn a_mailboxs_own_refresh_token_is_stronger_than_everybodys() {
    let auth = "method = \"refresh-token\", client_id = \"app\", tenant = \"common\"";
    let shared = format!("{auth}, refresh_token = {{ env = \"ALL\" }}");
    let own = "source_refresh_token = { file = \"alice\" }";
    for (auth, own, expected) in [
        (shared.as_str(), "", SecretRef::Env("ALL".into())),
        (shared.as_str(), own, file("alice")),
        (auth, own, file("alice")),
    ] {
        let Grant::RefreshToken { client, refresh_token } = grant(auth, own) else {
            panic!("another grant")
        };
        assert_eq!(refresh_token, expected);
        assert_eq!((client.client_secret, client.scopes.len()), (None, 0));
    }
    let missing = refused(auth, "");
    assert!(missing.contains("there is no refresh token for the source"), "{missing}");
    assert!(missing.contains("source_refresh_token"), "{missing}");
}

#[test]
fn a_csv_roster_names_refresh_tokens_as_it_names_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let definition = "[source]\nhost = \"a.example\"\nauth = { method = \"refresh-token\", \
                      client_id = \"app\", token_url = \"https://b.example/\" }\n[destination]\n\
                      host = \"c.example\"\nauth = { password = { env = \"C\" } }\n[roster]\n\
                      csv = \"wave.csv\"\n";
    let csv = "source,destination,source_refresh_token_file,source_refresh_token_env\n\
               alice@a,alice@c,alice,\nbob@a,bob@c,,BOB\n";
    std::fs::write(directory.path().join("acme.toml"), definition).unwrap();
    std::fs::write(directory.path().join("wave.csv"), csv).unwrap();
    let loaded = load(&directory.path().join("acme.toml")).unwrap();
    let mailboxes = loaded.migration.mailboxes.iter();
    let secrets: Vec<_> =
        mailboxes.flat_map(|mailbox| mailbox.source.login.secrets()).cloned().collect();
    let alice = directory.path().join("alice");
    assert_eq!(secrets, [SecretRef::File(alice.clone()), SecretRef::Env("BOB".into())]);
    assert!(loaded.files.contains(&alice));
    let both = csv.replace("alice,\n", "alice,ALICE\n");
    std::fs::write(directory.path().join("wave.csv"), both).unwrap();
    let rejected = load(&directory.path().join("acme.toml")).unwrap_err();
    let said = render_all(&rejected.diagnostics, false);
    assert!(said.contains("this mailbox has two refresh tokens for one side"), "{said}");
}

#[test]
fn what_does_not_belong_together_is_refused_where_it_stands() {
    let application = "method = \"client-credentials\", client_id = \"app\"";
    let secret = "client_secret = { env = \"S\" }";
    let url = "token_url = \"https://b.example/\"";
    let cases = [
        (format!("{application}, {secret}"), "`token_url` is missing"),
        (format!("{application}, {url}"), "`client_secret` is missing"),
        (format!("{application}, {secret}, {url}, tenant = \"a\""), "exclude each other"),
        (
            format!("{application}, {url}, {secret}, certificate = {{ env = \"C\" }}"),
            "`client_secret` and `certificate` exclude each other",
        ),
        (
            format!("{application}, {url}, certificate = {{ env = \"C\" }}"),
            "`private_key` is missing",
        ),
        (
            format!("{application}, {secret}, tenant = \"common\""),
            "`common` is no tenant of its own",
        ),
        (format!("{application}, {secret}, tenant = \"a/b\""), "`a/b` is no tenant"),
        (format!("{application}, {secret}, {url}, user = \"u\""), "`user` has no meaning here"),
        (format!("{application}, {secret}, {url}, scopes = [\"a b\"]"), "`a b` is no scope"),
        (
            "password = { env = \"P\" }, client_id = \"app\"".into(),
            "`client_id` has no meaning here",
        ),
        (format!("method = \"client-credentials\", {secret}, {url}"), "`client_id` is missing"),
        (format!("{application}, client_secret = \"hunter2\", {url}"), "must not hold the secret"),
    ];
    for (auth, expected) in cases {
        let said = refused(&auth, "");
        assert!(said.contains(expected), "{auth}:\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn secrets_go_nowhere_without_tls_but_to_this_machine() {
    let auth = |url: &str| {
        format!(
            "method = \"refresh-token\", client_id = \"app\", refresh_token = {{ env = \"R\" }}, \
             token_url = \"{url}\""
        )
    };
    for good in ["https://b.example/token", "http://127.0.0.1:8080/t", "http://[::1]/t"] {
        grant(&auth(good), "");
    }
    for bad in [
        "http://b.example/token",
        "http://localhost/token",
        "https://me:hunter2@b.example/token",
        "ftp://b.example/",
        "b.example",
    ] {
        assert!(refused(&auth(bad), "").contains("error"), "{bad}");
    }
}

#[test]
fn a_mailboxs_secret_of_another_kind_is_refused() {
    let token = "method = \"refresh-token\", client_id = \"app\", tenant = \"common\"";
    let password = refused(token, "source_password = { env = \"P\" }");
    assert!(password.contains("`alice@old.example` is entered with a token"), "{password}");
    let refresh = refused("method = \"password\"", "source_refresh_token = { env = \"R\" }");
    assert!(refresh.contains("`alice@old.example` is entered with a password"), "{refresh}");
}

#[test]
fn a_platform_knows_where_its_users_consent_and_where_tokens_are_asked_for() {
    let auth = "method = \"refresh-token\", client_id = \"app\"";
    let of = |platform: &str, auth: &str| {
        let own = "source_refresh_token = { file = \"alice\" }";
        let text = text(auth, own)
            .replace("[source]\n", &format!("[source]\nplatform = \"{platform}\"\n"));
        let loaded = load_text("acme", &text, Path::new("/herd"));
        let loaded = loaded.unwrap_or_else(|r| panic!("{}", render_all(&r.diagnostics, false)));
        match &loaded.migration.mailboxes[0].source.login {
            Login::Token(Grant::RefreshToken { client, .. }) => client.clone(),
            other => panic!("{other:?}"),
        }
    };
    let gmail = of("gmail", auth);
    assert_eq!(gmail.token_url.as_str(), "https://oauth2.googleapis.com/token");
    assert_eq!(gmail.consent.scopes, ["https://mail.google.com/"]);
    assert_eq!(gmail.consent.device_url, None);
    // What is used asks for what was consented to, whatever that was.
    assert!(gmail.scopes.is_empty());
    let url = |url: &Option<url::Url>| url.as_ref().map(url::Url::to_string).unwrap_or_default();
    let tenant = of("microsoft365", &format!("{auth}, tenant = \"acme.example\""));
    let entra = "https://login.microsoftonline.com/acme.example/oauth2/v2.0";
    assert_eq!(url(&tenant.consent.authorize_url), format!("{entra}/authorize"));
    assert_eq!(url(&tenant.consent.device_url), format!("{entra}/devicecode"));
    assert_eq!(tenant.token_url.as_str(), format!("{entra}/token"));
    assert!(tenant.consent.scopes.contains(&"offline_access".to_owned()));
    let own =
        of("gmail", &format!("{auth}, scopes = [\"a\"], authorize_url = \"https://b.example/a\""));
    assert_eq!(url(&own.consent.authorize_url), "https://b.example/a");
    assert_eq!(
        (&*own.consent.scopes, &*own.scopes),
        (&["a".to_owned()][..], &["a".to_owned()][..])
    );
}

#[test]
fn a_client_secrets_end_is_its_owners_to_say() {
    let application =
        "method = \"client-credentials\", client_id = \"app\", tenant = \"a.example\"";
    let secret = "client_secret = { env = \"S\" }, expires = 2027-03-31";
    let day = chrono::NaiveDate::from_ymd_opt(2027, 3, 31);
    assert_eq!(grant(&format!("{application}, {secret}"), "").secret_expires(), day);
    let certificate = "certificate = { env = \"C\" }, private_key = { env = \"K\" }";
    let said = refused(&format!("{application}, {certificate}, expires = 2027-03-31"), "");
    assert!(said.contains("`expires` has no meaning here"), "{said}");
    assert!(said.contains("of certificates drover knows by itself"), "{said}");
    let said = refused("password = { env = \"P\" }, expires = 2027-03-31", "");
    assert!(said.contains("`expires` has no meaning here"), "{said}");
}

// ---- master users -----------------------------------------------------------------------------

#[test]
fn an_alias_is_for_master_users_and_a_form_must_name_both() {
    let definition = |auth: &str, own: &str| {
        let text = format!(
            "[source]\nhost = \"a.example\"\nauth = {{ {auth} }}\n[destination]\n\
             host = \"b.example\"\nauth = {{ password = {{ env = \"B\" }} }}\n[[mailboxes]]\n\
             source = \"anna\"\ndestination = \"anna\"\n{own}\n"
        );
        let loaded = load_text("acme", &text, Path::new("/"));
        loaded.map(|_| ()).map_err(|rejected| format!("{:?}", rejected.diagnostics))
    };
    let password = "password = { env = \"A\" }";
    let misplaced = definition(password, "source_alias = \"a\"").expect_err("no master user");
    assert!(misplaced.contains("remove its own source alias"), "{misplaced}");
    let meaningless = definition(&format!("{password}, form = \"authzid\""), "");
    assert!(meaningless.expect_err("no master user").contains("`form` has no meaning here"));
    let master = format!("method = \"master-user\", user = \"admin\", {password}");
    let shapeless = definition(&format!("{master}, form = \"backslash\""), "");
    assert!(shapeless.expect_err("no form").contains("{user}"));
    definition(&format!("{master}, form = '{{user}}\\{{alias}}'"), "source_alias = \"a\"")
        .expect("a good definition");
}

#[test]
fn a_csv_roster_names_aliases() {
    let directory = tempfile::tempdir().unwrap();
    let definition = "[source]\nhost = \"a.example\"\nplatform = \"exchange\"\n[source.auth]\n\
                      method = \"master-user\"\nuser = 'ACME\\admin'\npassword = { env = \"A\" }\n\
                      [destination]\nhost = \"c.example\"\nauth = { password = { env = \"C\" } }\n\
                      [roster]\ncsv = \"wave.csv\"\n";
    let csv = "source,destination,source_alias\nalice@a,alice@c,als\nbob@a,bob@c,\n";
    std::fs::write(directory.path().join("acme.toml"), definition).unwrap();
    std::fs::write(directory.path().join("wave.csv"), csv).unwrap();
    let loaded = load(&directory.path().join("acme.toml")).unwrap();
    let who = loaded.migration.mailboxes.iter().map(|mailbox| mailbox.source.names().who);
    assert_eq!(who.collect::<Vec<_>>(), ["ACME\\admin\\als", "ACME\\admin\\bob"]);
}

#[test]
fn a_ca_file_for_tokens_is_relative_to_the_definition_and_watched() {
    for method in [
        "method = \"service-account\", key = { file = \"google.json\" }",
        "method = \"client-credentials\", tenant = \"acme.example\", client_id = \"app\", \
         client_secret = { env = \"S\" }",
        "method = \"refresh-token\", client_id = \"app\", refresh_token = { env = \"R\" }, \
         token_url = \"https://login.example/token\"",
    ] {
        let auth = format!("{method}, ca_file = \"ca.pem\"");
        let path = Path::new("/herd/ca.pem");
        assert_eq!(grant(&auth, "").ca_file(), Some(path), "{method}");
        let loaded = load_text("acme", &text(&auth, ""), Path::new("/herd")).unwrap();
        assert!(loaded.files.iter().any(|file| file == path), "{:?}", loaded.files);
        let warned = render_all(&loaded.warnings, false);
        assert!(warned.contains("`ca_file` cannot be read now"), "{warned}");
    }
    let said = refused("password = { env = \"P\" }, ca_file = \"ca.pem\"", "");
    assert!(said.contains("`ca_file` has no meaning here"), "{said}");
}
