//! The way back from the user's browser: a web server on loopback for one answer (RFC 8252, 7.3).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

use super::super::grants::words;
use super::LoginError;
use super::error::said;

/// No browser's request is longer, bytes.
const LONGEST: usize = 16 * 1024;

/// A connection that says nothing for so long is not the browser's answer; browsers open some
/// ahead.
const IDLE: Duration = Duration::from_secs(30);

/// Connections at once; whoever has more waits.
const AT_ONCE: usize = 16;

/// What a browser came back with.
type Answer = Result<SecretString, LoginError>;

/// Waits for the browser that comes back with this state, and gives the code it brings. Everybody
/// else gets a page that says no, and changes nothing.
///
/// # Errors
/// [`LoginError::Denied`] if it brings a refusal, [`LoginError::Expired`] if it does not come.
pub(super) async fn code(listener: TcpListener, state: &str, patience: Duration) -> Answer {
    let (sender, mut answers) = mpsc::channel(1);
    let state: Arc<str> = state.into();
    // Ends with this function, and with it every connection.
    let mut talking = JoinSet::new();
    let listening = async {
        loop {
            tokio::select! {
                Some(answer) = answers.recv() => break answer,
                Some(_) = talking.join_next() => {}
                accepted = listener.accept(), if talking.len() < AT_ONCE => {
                    let Ok((stream, _)) = accepted else { continue };
                    talking.spawn(serve(stream, Arc::clone(&state), sender.clone()));
                }
            }
        }
    };
    let answered = tokio::time::timeout(patience, listening).await;
    answered.unwrap_or(Err(LoginError::Expired(patience)))
}

async fn serve(mut stream: TcpStream, state: Arc<str>, answers: mpsc::Sender<Answer>) {
    let Ok(Some(target)) = tokio::time::timeout(IDLE, target(&mut stream)).await else { return };
    let answer = answer(&target, &state);
    let (status, page) = match &answer {
        Some(Ok(_)) => (
            "200 OK",
            "drover has the answer. You may close this page; drover's own \
                                    terminal says whether all is well.\n",
        ),
        Some(Err(_)) => (
            "200 OK",
            "drover has no consent; its own terminal says why. You may close \
                                    this page.\n",
        ),
        None => ("404 Not Found", "This is not the answer that drover waits for.\n"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n",
        page.len()
    );
    let said = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(page.as_bytes()).await?;
        stream.shutdown().await
    };
    // A browser that has gone has brought its answer all the same.
    let _ = tokio::time::timeout(IDLE, said).await;
    if let Some(answer) = answer {
        let _ = answers.send(answer).await;
    }
}

/// What is asked for by a GET request, once its head has come.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let n = stream.read_buf(&mut head).await.ok()?;
        if n == 0 || head.len() > LONGEST {
            return None;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (target, version) = line.strip_prefix("GET ")?.split_once(' ')?;
    version.starts_with("HTTP/1.").then(|| target.to_owned())
}

/// The code or the refusal (RFC 6749, 4.1.2) that belongs to this state; `None`: something else.
fn answer(target: &str, state: &str) -> Option<Answer> {
    let url = Url::parse("http://127.0.0.1/").ok()?.join(target).ok()?;
    let value = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    if url.path() != "/" || value("state").as_deref() != Some(state) {
        return None;
    }
    match (value("code"), value("error")) {
        (_, Some(error)) => {
            let text = value("error_description").unwrap_or_default();
            Some(Err(LoginError::Denied(said(&words(&error, &[]), &words(&text, &[])))))
        }
        (Some(code), None) if !code.is_empty() => Some(Ok(code.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_the_state_that_was_sent_brings_the_code() {
        let code = answer("/?code=c%2Fo&state=s", "s").unwrap().unwrap();
        assert_eq!(code.expose_secret(), "c/o");
        for foreign in
            ["/?code=c&state=t", "/?code=c", "/?state=s", "/favicon.ico?code=c&state=s", "*", ""]
        {
            assert!(answer(foreign, "s").is_none(), "{foreign}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let refused =
            answer("/?error=access_denied&error_description=not+today%0d%0a&state=s", "s");
        let error = refused.unwrap().unwrap_err().to_string();
        assert_eq!(error, "there is no consent: access_denied: not today");
    }

    async fn said(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn strangers_and_silent_connections_do_not_keep_the_browser_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let waiting =
            tokio::spawn(async move { code(listener, "s", Duration::from_secs(60)).await });
        let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let forged = said(port, "GET /?code=evil&state=guessed HTTP/1.1\r\n\r\n").await;
        assert!(forged.starts_with("HTTP/1.1 404 "), "{forged}");
        let answer = said(port, "GET /?code=good&state=s HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("You may close this page"), "{answer}");
        assert_eq!(waiting.await.unwrap().unwrap().expose_secret(), "good");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = code(listener, "s", Duration::from_secs(900)).await.unwrap_err();
        assert_eq!(error.to_string(), "nobody consented within 15 minutes");
    }
}
