//! Entra ID's own numbers, and what helps
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).

/// What to do about AADSTS`code`, if it is known.
pub(super) fn remedy(code: u32) -> Option<&'static str> {
    REMEDIES.iter().find(|(known, _)| *known == code).map(|(_, remedy)| *remedy)
}

const REMEDIES: &[(u32, &str)] = &[
    // ---- Who signed in once, and whose refresh token this is.
    (50_020, "the user is of another tenant: check `tenant`, or invite the user as a guest"),
    (50_034, "the tenant knows no such user: check the account and `tenant`"),
    (50_053, "the account is locked after too many tries: wait, then sign in anew"),
    (50_055, "the user's password has expired: renew it, and sign in anew for a new refresh token"),
    (
        50_057,
        "the user account is disabled: in the Entra admin center, Users > the user, enable it, or \
         enter the mailbox as somebody else",
    ),
    (50_076, "the user must sign in with a second factor: sign in anew for a new refresh token"),
    (50_079, "the user must set up a second factor and sign in anew for a new refresh token"),
    (
        50_105,
        "the user is not assigned to the application: in the Entra admin center, Enterprise \
         applications > the application > Users and groups, assign the user",
    ),
    (50_126, "the user name or password is wrong: sign in anew for a new refresh token"),
    (50_158, "the organisation wants one more proof: sign in anew for a new refresh token"),
    (50_173, "the refresh token was revoked, mostly by a new password: sign in anew for another"),
    (53_000, CONDITIONAL),
    (53_001, CONDITIONAL),
    (53_003, CONDITIONAL),
    (
        65_001,
        "nobody has consented: in the Entra admin center, App registrations > the application > \
         API permissions, grant admin consent",
    ),
    (
        70_000,
        "the refresh token is no good for this application: check `client_id`, or sign in anew",
    ),
    (70_008, "the refresh token has expired: sign in anew and put the new one in its place"),
    (
        70_043,
        "the refresh token has expired by the organisation's sign-in frequency: sign in anew, and \
         except the application in the Entra admin center, Protection > Conditional Access",
    ),
    (700_082, "the refresh token was unused for too long and has expired: sign in anew"),
    (700_084, "the refresh token was given to a page in a browser and has expired: sign in anew"),
    // ---- The application.
    (
        70_011,
        "check `scopes`: with client-credentials it is https://outlook.office365.com/.default, with \
         refresh-token https://outlook.office.com/IMAP.AccessAsUser.All",
    ),
    (
        500_011,
        "the tenant does not know what the token is to be good for: check `scopes`, and that the \
         tenant has Exchange Online",
    ),
    (
        700_016,
        "the tenant knows no such application: check `client_id` against App registrations in \
         the Entra admin center, and `tenant`",
    ),
    (
        700_024,
        "the assertion is out of its time: set the clock of drover's machine, which is wrong by \
         some minutes",
    ),
    (700_025, "the application is a public one, and has no secret: leave `client_secret` out"),
    (
        700_027,
        "the application does not know the certificate: upload it in the Entra admin center, \
         App registrations > the application > Certificates & secrets, and check that \
         `private_key` belongs to it",
    ),
    (
        7_000_112,
        "the application is disabled: in the Entra admin center, Enterprise applications > the \
         application > Properties, let users sign in",
    ),
    (
        7_000_215,
        "the client secret is wrong: take the secret's Value, not its ID, from App registrations > \
         the application > Certificates & secrets in the Entra admin center",
    ),
    (
        7_000_218,
        "the application wants a `client_secret`; or, in the Entra admin center, App registrations > \
         the application > Authentication, allow public client flows",
    ),
    (
        7_000_222,
        "the client secret has expired: make a new one in the Entra admin center, App \
         registrations > the application > Certificates & secrets",
    ),
    // ---- The tenant.
    (90_002, "there is no such tenant: check `tenant` or `token_url`"),
    (900_023, "this is no tenant: write its id, or one of its domains, in `tenant`"),
];

const CONDITIONAL: &str = "a policy of the organisation blocks the sign-in: the Entra admin center, \
     Protection > Conditional Access, and the user's Sign-in logs, say which; except the application, \
     or the address of drover's machine";
