//! One token endpoint: how it is reached, how many ask it at once, and when it is left alone.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oauth2::http::header::{CONTENT_TYPE, RETRY_AFTER};
use oauth2::http::{HeaderMap, StatusCode};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::TokenError;
use crate::tls;

/// Requests at once: six hundred mailboxes ask one after the other.
const AT_ONCE: usize = 4;

/// Bounds a request, its answer included.
const PATIENCE: Duration = Duration::from_secs(30);

/// No answer is longer, bytes.
const LONGEST: usize = 1 << 20;

/// How long an endpoint is left alone that does not say for how long; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// And never longer than this, whatever it says.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One token endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// As people are told of it.
    host: String,
    /// Certificates to trust besides the platform's roots.
    ca_file: Option<PathBuf>,
    /// Without TLS: only on this machine, where no proxy could stand between.
    is_plain: bool,
    client: Mutex<Option<Made>>,
    room: Semaphore,
    pause: Mutex<Pause>,
}

/// A client, and what it trusts.
type Made = (Arc<ClientConfig>, reqwest::Client);

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// How often in a row.
    times: u32,
}

impl Endpoint {
    /// How the endpoint at this address is asked, with these certificates besides the platform's.
    pub(super) fn new(url: &Url, ca_file: Option<&Path>) -> Self {
        Self {
            host: host(url),
            ca_file: ca_file.map(Path::to_owned),
            is_plain: url.scheme() == "http",
            client: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
            pause: Mutex::default(),
        }
    }

    /// Its host, for people.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request as soon as others have their answers, unless the endpoint is to be left
    /// alone.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TokenError> {
        let _room = self.room.acquire().await;
        if let Some(delay) = self.paused() {
            return Err(self.throttled(delay));
        }
        let failed = |error: reqwest::Error| self.failed(&error);
        let request = request.try_into().map_err(failed)?;
        let mut answer = self.client()?.execute(request).await.map_err(failed)?;
        let status = answer.status();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Err(self.throttled(self.pause(retry_after(answer.headers()))));
        }
        if status.is_server_error() {
            return Err(self.unreachable(format!("HTTP {}", status.as_u16())));
        }
        self.pause.lock().unwrap_or_else(PoisonError::into_inner).times = 0;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(self.unreachable("its answer does not end".into()));
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        Ok(response)
    }

    /// The client; another one once what is trusted may have changed, on disk or in the system.
    fn client(&self) -> Result<reqwest::Client, TokenError> {
        let tls = tls::config(self.ca_file.as_deref());
        let tls = tls.map_err(|error| self.untrusted(error.to_string()))?;
        let mut made = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((trusting, client)) = &*made
            && Arc::ptr_eq(trusting, &tls)
        {
            return Ok(client.clone());
        }
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            // A secret goes where the definition says and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("drover/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE);
        let builder = if self.is_plain { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| self.failed(&error))?;
        *made = Some((tls, client.clone()));
        Ok(client)
    }

    fn paused(&self) -> Option<Duration> {
        let until = self.pause.lock().unwrap_or_else(PoisonError::into_inner).until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Leaves the endpoint alone, for as long as it said.
    fn pause(&self, said: Option<Duration>) -> Duration {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let own = FIRST_PAUSE.saturating_mul(1 << pause.times.min(10));
        let delay = said.unwrap_or(own).min(LONGEST_PAUSE);
        pause.times = pause.times.saturating_add(1);
        pause.until = Some(Instant::now() + delay);
        tracing::info!(endpoint = %self.host, seconds = delay.as_secs(), "asked for too many tokens; waiting");
        delay
    }

    fn throttled(&self, delay: Duration) -> TokenError {
        TokenError::Throttled { endpoint: self.host.clone(), delay }
    }

    fn failed(&self, error: &reqwest::Error) -> TokenError {
        match of_tls(error) {
            Some(cause) => self.untrusted(cause.to_string()),
            None => self.unreachable(cause(error)),
        }
    }

    fn untrusted(&self, cause: String) -> TokenError {
        TokenError::Tls { endpoint: self.host.clone(), cause }
    }

    fn unreachable(&self, cause: String) -> TokenError {
        TokenError::Unreachable { endpoint: self.host.clone(), cause }
    }
}

impl<'c> AsyncHttpClient<'c> for Endpoint {
    type Error = TokenError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, TokenError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Host, and port where it is not the usual one.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost cause says most; the outer ones name the URL again.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.is_timeout() {
        true => format!("nothing within {} s", PATIENCE.as_secs()),
        false => cause.to_string(),
    }
}

/// What TLS itself has to say of it.
fn of_tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        // An I/O error does not count what it holds among its sources.
        let held = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = held.map_or_else(|| inner.source(), |held| Some(held));
    }
    None
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - chrono::Utc::now()).to_std().ok()
}
