//! What people can do when a server does not let drover in: the sayings that tell more than "no",
//! and those that tell less than an administrator must know. The second table of docs/sayings.md
//! is written from this one. In each comment, where a saying is known from.

use super::Saying;
use crate::definition::{Grant, Login};

/// How an account was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Entered {
    /// With its own password.
    Password,
    /// With a master user's.
    Master,
    /// With an application's own token (client credentials).
    Application,
    /// With a service account's, in the user's name.
    Delegation,
    /// With one that a user consented to (refresh token).
    Consent,
}

use Entered::{Application, Consent, Delegation, Master, Password};

impl Entered {
    pub(in super::super) const fn by(login: &Login) -> Self {
        match login {
            Login::Password(_) => Password,
            Login::MasterUser { .. } => Master,
            Login::Token(Grant::ClientCredentials { .. }) => Application,
            Login::Token(Grant::ServiceAccount { .. }) => Delegation,
            Login::Token(Grant::RefreshToken { .. }) => Consent,
        }
    }
}

/// A saying, and what helps.
pub(super) struct Advice {
    /// Found anywhere in the text, lower case.
    pub(super) text: &'static str,
    /// Empty: however the account was entered.
    pub(super) entered: &'static [Entered],
    /// `{user}` is the account.
    pub(super) advice: &'static str,
    /// A line as a server really sends it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation and its test"))]
    pub(super) example: &'static str,
}

/// What to do about a saying; `None` if nothing is known of it.
pub(super) fn find(saying: &Saying, entered: Entered) -> Option<&'static Advice> {
    let text = saying.text.to_ascii_lowercase();
    let fits = |row: &&Advice| {
        text.contains(row.text) && (row.entered.is_empty() || row.entered.contains(&entered))
    };
    ROWS.iter().find(fits)
}

const TOKENS: &[Entered] = &[Application, Delegation, Consent];
const PASSWORDS: &[Entered] = &[Password, Master];
const ANY: &[Entered] = &[];

/// What Google wants before it lets a new program in.
const CONFIRM: &str = "sign in once as {user} in a browser and confirm that the try was yours; then use an \
     app password (https://myaccount.google.com/apppasswords) or a token";

pub(super) const ROWS: &[Advice] = &[
    // ---- Gmail and Google Workspace (imapsync FAQ.Gmail, unless noted).
    advice(
        "application-specific password required",
        ANY,
        "make an app password for {user} at https://myaccount.google.com/apppasswords, which needs \
         2-step verification to be on, and put it in the secret's place",
        "NO [ALERT] Application-specific password required: https://support.google.com/ (Failure)",
    ),
    advice(
        "log in via your web browser",
        ANY,
        CONFIRM,
        "NO [ALERT] Please log in via your web browser: https://support.google.com/ (Failure)",
    ),
    // S22.Imap issue 116.
    advice(
        "web login required",
        ANY,
        CONFIRM,
        "NO [WEBALERT https://accounts.google.com/] Web login required.",
    ),
    // The words are uncertain.
    advice(
        "not enabled for imap",
        ANY,
        "switch IMAP access on for {user}'s organisational unit in the Google Admin console, Apps > \
         Google Workspace > Gmail > End User Access \
         (https://admin.google.com/ac/apps/gmail/enduseraccess); it takes effect within hours",
        "NO [ALERT] Your account is not enabled for IMAP use",
    ),
    // gmvault issue 253: with a good token, too.
    advice(
        "lookup failed",
        ANY,
        "check that {user} is the primary address of a user who has Gmail switched on (Google Admin \
         console, Directory > Users); if it is, wait an hour, for it may pass, and `drover sync`",
        "NO Lookup failed f26mb392779289eda",
    ),
    advice(
        "invalid credentials (failure)",
        &[Delegation],
        "check that the Gmail service is on for {user} (Google Admin console, Apps > Google \
         Workspace > Gmail), that {user} is a primary address and no group, and that `scopes` is \
         https://mail.google.com/ or https://www.googleapis.com/auth/gmail.imap_admin, exactly as \
         under Security > API controls > Domain-wide delegation",
        "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    ),
    advice(
        "invalid credentials (failure)",
        &[Consent],
        "let {user} consent anew, with the scope https://mail.google.com/, and put the new refresh \
         token in the old one's place",
        "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    ),
    // ---- Microsoft 365 and Exchange
    // (https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth,
    // imapsync FAQ.Office365).
    advice(
        "authenticate failed",
        &[Application],
        "in Exchange Online PowerShell check that the application is known to Exchange \
         (Get-ServicePrincipal; else New-ServicePrincipal -AppId <application id> -ObjectId <object \
         id>, of the Enterprise application, not of the App registration), that it may enter the \
         mailbox (Add-MailboxPermission -Identity {user} -User <service principal id> -AccessRights \
         FullAccess) and that IMAP is on (Set-CASMailbox {user} -ImapEnabled $true); and in the \
         Entra admin center that IMAP.AccessAsApp has admin consent",
        "NO AUTHENTICATE failed.",
    ),
    advice(
        "authenticate failed",
        &[Consent],
        "check in Exchange Online PowerShell that IMAP is on for the mailbox (Set-CASMailbox {user} \
         -ImapEnabled $true) and, if the consent is another user's, that they may enter it \
         (Add-MailboxPermission -Identity {user} -User <that user> -AccessRights FullAccess); and \
         that the consent holds https://outlook.office.com/IMAP.AccessAsUser.All",
        "NO AUTHENTICATE failed.",
    ),
    advice(
        "authenticated but not connected",
        TOKENS,
        "in Exchange Online PowerShell check that whoever the token is for may enter the mailbox \
         (Add-MailboxPermission -Identity {user} -User <service principal id or user> -AccessRights \
         FullAccess) and that IMAP is on (Set-CASMailbox {user} -ImapEnabled $true); and in the \
         Microsoft 365 admin center that {user} has a licence with a mailbox",
        "BAD User is authenticated but not connected.",
    ),
    advice(
        "authenticated but not connected",
        PASSWORDS,
        "in the Exchange Management Shell check that who signs in has FullAccess to the mailbox \
         (Add-MailboxPermission -Identity {user} -User <admin> -AccessRights FullAccess) and a \
         mailbox of its own, that IMAP is on (Set-CASMailbox {user} -ImapEnabled $true), and that \
         the mailbox is named by its alias",
        "BAD User is authenticated but not connected.",
    ),
    // uxc issue 445: Outlook.com.
    advice(
        "basic authentication is disabled",
        ANY,
        "Microsoft takes no passwords by IMAP any more: use method = \"client-credentials\", or for \
         Outlook.com method = \"refresh-token\"",
        "NO Basic authentication is disabled.",
    ),
    // The words are uncertain.
    advice(
        "basicauthblocked",
        ANY,
        "Microsoft takes no passwords by IMAP any more: use method = \"client-credentials\", or for \
         Outlook.com method = \"refresh-token\"",
        "NO LogonDenied-BasicAuthBlocked",
    ),
    // Exchange on premises, by PLAIN and by LOGIN (imapsync FAQ.Exchange); the second is said by
    // others, too.
    advice("authenticate failed", &[Master], ADMIN, "NO AUTHENTICATE failed."),
    advice("login failed", &[Master], ADMIN, "NO LOGIN failed."),
    advice(
        "authenticate failed",
        &[Password],
        "correct the secret; in the Exchange Management Shell check that IMAP is on for the mailbox \
         (Set-CASMailbox {user} -ImapEnabled $true) and that the account is not locked; Exchange \
         Online takes no passwords at all",
        "NO AUTHENTICATE failed.",
    ),
    // ---- Yahoo and AOL.
    advice(
        "too many bad auth attempts",
        ANY,
        "wait a few hours, for each try prolongs the lock; then make an app password for {user} at \
         https://login.yahoo.com/account/security and put it in the secret's place",
        "NO [AUTHENTICATIONFAILED] (#AUTH005) Too many bad auth attempts.",
    ),
    // The other numbers are uncertain.
    advice(
        "(#auth",
        PASSWORDS,
        YAHOO,
        "NO [AUTHENTICATIONFAILED] (#AUTH012) Incorrect username or password.",
    ),
    // ---- Yandex (Mailspring issue 2111).
    advice(
        "invalid credentials or imap is disabled",
        ANY,
        "let {user} allow IMAP in Yandex Mail's settings, under Email clients, and make an app \
         password for mail at https://id.yandex.com/security/app-passwords",
        "NO [AUTHENTICATIONFAILED] LOGIN invalid credentials or IMAP is disabled sc=x",
    ),
    // offlineimap issue 688; go-imap issue 436.
    advice(
        "authenticate invalid credentials",
        PASSWORDS,
        YAHOO,
        "NO [AUTHENTICATIONFAILED] AUTHENTICATE Invalid credentials",
    ),
    advice(
        "login invalid credentials",
        PASSWORDS,
        YAHOO,
        "NO [AUTHENTICATIONFAILED] LOGIN Invalid credentials",
    ),
    // ---- Mail.ru (thunderbird-android issue 9069).
    advice(
        "parol prilozheniya",
        ANY,
        "make an app password for {user} at https://account.mail.ru/user/2-step-auth/passwords, with \
         full access to mail, and put it in the secret's place",
        "NO NEOBHODIM parol prilozheniya https://help.mail.ru/ / Aplication password is REQUIRED",
    ),
    // ---- Zoho. The words are uncertain.
    advice(
        "yet to enable imap",
        ANY,
        "let {user} switch IMAP on in Zoho Mail, Settings > Mail Accounts > IMAP Access; in an \
         organisation the administrator must allow it first (https://mailadmin.zoho.com, Users)",
        "NO [ALERT] You are yet to enable IMAP for your account. Please contact your administrator",
    ),
    // ---- NetEase, on the first folder that is opened.
    advice(
        "unsafe login",
        ANY,
        "the server serves only clients that say who they are: write platform = \"netease\", or id = \
         { vendor = \"drover\" }; if that is so already, let {user} switch IMAP on at \
         https://mail.163.com, Settings > POP3/SMTP/IMAP, and use the authorisation code shown \
         there as the password",
        "NO SELECT Unsafe Login. Please contact kefu@188.com for help",
    ),
    // ---- GMX and others. The words are uncertain.
    advice(
        "imap access is disabled",
        ANY,
        "let {user} allow IMAP in the mailbox's own settings (GMX, WEB.DE: Settings > POP3 & IMAP)",
        "NO IMAP access is disabled for your account",
    ),
];

const ADMIN: &str = "correct the secret; in the Exchange Management Shell check that the admin has \
     FullAccess to the mailbox (Add-MailboxPermission -Identity {user} -User <admin> -AccessRights \
     FullAccess) and a mailbox of its own, that IMAP is on (Set-CASMailbox {user} -ImapEnabled $true), \
     and that `form` and the mailbox's alias make the name the server wants";

const YAHOO: &str = "make an app password for {user} at https://login.yahoo.com/account/security (AOL: \
     https://login.aol.com/account/security) and put it in the secret's place; the account's own \
     password is not taken";

const fn advice(
    text: &'static str,
    entered: &'static [Entered],
    advice: &'static str,
    example: &'static str,
) -> Advice {
    Advice { text, entered, advice, example }
}
