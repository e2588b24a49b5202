//! A user's web browser, as far as signing in at `tests/peers/oidc.js` needs one: cookies,
//! redirections, and forms that are sent with what stands in them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use url::Url;
use url::form_urlencoded::Serializer;

/// Redirections in a row are never more.
const REDIRECTIONS: usize = 20;

/// A browser with a page open.
#[derive(Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
    url: Option<Url>,
    /// What is shown.
    pub page: String,
}

impl Browser {
    /// Opens a page, and whatever it leads to.
    pub fn open(&mut self, url: &str) {
        self.go(url.parse().expect("a URL"), None);
    }

    /// Sends the first form of the page, with these fields filled in.
    pub fn submit(&mut self, fields: &[(&str, &str)]) {
        let form = self.page.split("<form").nth(1).expect("a form").to_owned();
        let mut body = Serializer::new(String::new());
        for input in form.split("<input").skip(1) {
            let input = input.split('>').next().unwrap_or_default();
            if let (Some(name), Some(value)) = (attribute(input, "name"), attribute(input, "value"))
                && !fields.iter().any(|(filled, _)| *filled == name)
            {
                body.append_pair(&name, &value);
            }
        }
        body.extend_pairs(fields);
        let action = attribute(&form, "action").expect("where the form goes");
        self.go(self.at().join(&action).expect("a URL"), Some(body.finish()));
    }

    /// Signs in as this user and consents to whatever is asked.
    pub fn consent(&mut self, user: &str) {
        while self.page.contains("<form") {
            match self.page.contains("name=\"login\"") {
                true => self.submit(&[("login", user), ("password", "any")]),
                false => self.submit(&[]),
            }
        }
    }

    /// Says no where it is asked to sign in.
    pub fn refuse(&mut self) {
        let link = self.page.split("<a ").find(|link| link.contains("/abort")).expect("a way out");
        let target = attribute(link, "href").expect("where it goes");
        self.go(self.at().join(&target).expect("a URL"), None);
    }

    fn at(&self) -> &Url {
        self.url.as_ref().expect("a page is open")
    }

    fn go(&mut self, mut url: Url, mut form: Option<String>) {
        for _ in 0..REDIRECTIONS {
            let (head, page) = self.ask(&url, form.take());
            let field = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(": "));
                let found: Vec<String> = lines
                    .filter(|(field, _)| field.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
                    .collect();
                found
            };
            for cookie in field("Set-Cookie") {
                let pair = cookie.split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').expect("a cookie");
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            match field("Location").first() {
                Some(target) => url = url.join(target).expect("a URL"),
                None => {
                    (self.url, self.page) = (Some(url), page);
                    return;
                }
            }
        }
        panic!("redirected for ever");
    }

    fn ask(&self, url: &Url, form: Option<String>) -> (String, String) {
        let address = url.socket_addrs(|| None).expect("an address");
        let mut stream = TcpStream::connect(&*address).expect("reach it");
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let method = if form.is_some() { "POST" } else { "GET" };
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = form.unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.0\r\nHost: {}\r\nCookie: {}\r\nAccept: text/html\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            url.authority(),
            cookies.join("; "),
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("hear");
        let (head, page) = answer.split_once("\r\n\r\n").expect("a page");
        (head.to_owned(), page.to_owned())
    }
}

/// An attribute's value, of those in double quotes.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    rest.split('"').next().map(|value| value.replace("&amp;", "&"))
}
