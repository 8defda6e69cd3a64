//! Requests: redirects, who gets the token, and what is tried again.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use ureq::http::{Response, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::pace::{Pace, Paced};
use crate::status::{self, Asked};
use crate::{Certificates, Event, HubError, Report, Retry, Settings, Token};

/// Redirects in a row that are followed.
const REDIRECTS: usize = 10;

/// Time for a connection, and for the headers of an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The headers. Redirects to another host are not followed: those who send them say all there is to know of the file.
    Head,
    /// The body from this byte on.
    Get { from: u64 },
}

/// Sends requests to one hub.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
    pub(crate) retry: Retry,
    pub(crate) pace: Pace,
}

/// A reply that is a success, a redirect to another host (`Head` only), or status 416 (`Get` only).
pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    /// Where it came from, without the query: that may hold a signature.
    pub(crate) url: String,
}

/// Why one attempt failed.
struct Failure {
    error: Box<HubError>,
    /// Whether another attempt may succeed.
    may_pass: bool,
    /// Whether it took long to fail.
    timed_out: bool,
    /// Wait that the server asks for.
    wait: Option<Duration>,
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self { error: Box::new(error), may_pass: false, timed_out: false, wait: None }
    }
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Self {
        // A hub on this machine is not behind the proxy that leads out of it.
        let local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
            let host = status::host(&settings.endpoint);
            host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        let roots = settings.certificates.as_ref().map_or(RootCerts::WebPki, Certificates::roots);
        let config = Agent::config_builder()
            .proxy(if local { None } else { Proxy::try_from_env() })
            .http_status_as_error(false)
            // Redirects are followed here: the token may not go with them.
            .max_redirects(0)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(settings.pace.silence))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("ssm-reduce/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            retry: settings.retry,
            pace: settings.pace,
        }
    }

    /// Asks for `path` of the hub, and again where that may help.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        asked: Asked<'_>,
        report: Report<'_>,
    ) -> Result<Reply, HubError> {
        let mut failed = 0;
        loop {
            let failure = match self.attempt(method, path, asked) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failed += 1;
            let retry = if failure.timed_out { self.retry.of_silence() } else { self.retry };
            let pause = retry.pause(failed, failure.wait).filter(|_| failure.may_pass);
            let Some(pause) = pause else { return Err(*failure.error) };
            report(Event::Waiting { why: failure.error.to_string(), pause });
            std::thread::sleep(pause);
        }
    }

    /// The text at `path`, of at most so many bytes, and where it came from. A body that breaks off or stalls is asked for again.
    pub(crate) fn text(
        &self,
        path: &str,
        largest: u64,
        asked: Asked<'_>,
        report: Report<'_>,
    ) -> Result<(String, String), HubError> {
        let mut failed = 0;
        loop {
            let Reply { response, url } = self.send(Method::Get { from: 0 }, path, asked, report)?;
            let mut text = String::new();
            let Err(error) = self.body(response).take(largest).read_to_string(&mut text) else {
                return Ok((url, text));
            };
            failed += 1;
            let retry = if error.kind() == ErrorKind::TimedOut { self.retry.of_silence() } else { self.retry };
            let Some(pause) = retry.pause(failed, None).filter(|_| error.kind() != ErrorKind::InvalidData) else {
                return Err(broken(url, &error));
            };
            report(Event::Waiting { why: format!("{url} breaks off: {error}"), pause });
            std::thread::sleep(pause);
        }
    }

    /// The body of an answer, as long as it gets on.
    pub(crate) fn body(&self, response: Response<Body>) -> impl Read {
        Paced::new(response.into_body().into_reader(), self.pace)
    }

    fn attempt(&self, method: Method, path: &str, asked: Asked<'_>) -> Result<Reply, Failure> {
        let hub = address(&self.endpoint)?;
        let mut target = address(&format!("{}{path}", self.endpoint))?;
        for _ in 0..=REDIRECTS {
            // What a hub redirects to is another host's, which may be anybody's.
            let token = self.token.as_ref().filter(|_| same_origin(&target, &hub));
            let url = without_query(&target);
            let response = self.call(method, &target, token).map_err(|error| network(&url, &error))?;
            let status = response.status().as_u16();
            match status {
                200 | 206 => return Ok(Reply { response, url }),
                416 if matches!(method, Method::Get { .. }) => return Ok(Reply { response, url }),
                301 | 302 | 303 | 307 | 308 => {
                    let next = follow(&target, status::text(response.headers(), "location"), &url)?;
                    if method == Method::Head && !same_origin(&next, &target) {
                        return Ok(Reply { response, url });
                    }
                    target = next;
                }
                _ => {
                    let error = status::refusal(asked, status, response.headers(), &url, token.is_some());
                    let wait = status::retry_after(response.headers());
                    return Err(Failure {
                        error: Box::new(error),
                        may_pass: status::may_pass(status),
                        timed_out: false,
                        wait,
                    });
                }
            }
        }
        let problem = format!("more than {REDIRECTS} redirects in a row");
        Err(HubError::BadAnswer { url: without_query(&target), problem }.into())
    }

    fn call(&self, method: Method, target: &Uri, token: Option<&Token>) -> Result<Response<Body>, ureq::Error> {
        let mut request = match method {
            Method::Head => self.agent.head(target.clone()),
            Method::Get { .. } => self.agent.get(target.clone()),
        };
        // Sizes and hashes are those of the plain bytes.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        if let Method::Get { from: from @ 1.. } = method {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call()
    }
}

/// What a body that breaks off for good means.
fn broken(url: String, error: &std::io::Error) -> HubError {
    if error.kind() == ErrorKind::TimedOut {
        HubError::Stalled { url, problem: error.to_string() }
    } else {
        HubError::BadAnswer { url, problem: format!("ends early: {error}") }
    }
}

fn address(text: &str) -> Result<Uri, HubError> {
    text.parse().map_err(|error| {
        let url = text.split('?').next().unwrap_or_default().to_owned();
        HubError::BadAnswer { url, problem: format!("no address: {error}") }
    })
}

/// Where a redirect leads.
fn follow(from: &Uri, location: Option<&str>, url: &str) -> Result<Uri, HubError> {
    let refuse = |problem: &str| HubError::BadAnswer { url: url.to_owned(), problem: problem.to_owned() };
    let location = location.ok_or_else(|| refuse("a redirect that leads nowhere"))?;
    let next = if location.starts_with('/') && !location.starts_with("//") {
        let (Some(scheme), Some(authority)) = (from.scheme_str(), from.authority()) else {
            return Err(refuse("a redirect from an incomplete address"));
        };
        address(&format!("{scheme}://{authority}{location}"))?
    } else {
        location.parse().map_err(|_| refuse("a redirect to something that is no address"))?
    };
    match next.scheme_str() {
        Some("https") => Ok(next),
        Some("http") if from.scheme_str() == Some("http") => Ok(next),
        Some("http") => Err(refuse("a redirect from https to http, which anybody could change on the way")),
        _ => Err(refuse("a redirect to something that is no web address")),
    }
}

/// Whether both have the same scheme, host and port.
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().or_else(|| (uri.scheme_str() == Some("https")).then_some(443)).unwrap_or(80);
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme_str() == b.scheme_str() && host(a) == host(b) && port(a) == port(b)
}

fn without_query(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

/// A name that does not resolve, a refused connection and a bad certificate stay what they are; the rest may pass.
fn network(url: &str, error: &ureq::Error) -> Failure {
    if let ureq::Error::Io(error) = error
        && error.kind() == std::io::ErrorKind::InvalidData
        && error.to_string().contains("certificate")
    {
        return HubError::Untrusted { host: status::host(url), problem: error.to_string() }.into();
    }
    let lasting = match &error {
        ureq::Error::HostNotFound | ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::BadUri(_) => true,
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    let timed_out = matches!(error, ureq::Error::Timeout(_));
    let error = HubError::Network { host: status::host(url), problem: error.to_string() };
    Failure { error: Box::new(error), may_pass: !lasting, timed_out, wait: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(from: &str, location: &str) -> Result<String, String> {
        let from: Uri = from.parse().unwrap();
        follow(&from, Some(location), "URL").map(|uri| uri.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn redirects_lead_to_web_addresses_that_are_no_less_safe() {
        assert_eq!(next("https://a/x", "/y?z=1"), Ok("https://a/y?z=1".into()));
        assert_eq!(next("http://a:81/x", "/y"), Ok("http://a:81/y".into()));
        assert_eq!(next("https://a/x", "https://b/y"), Ok("https://b/y".into()));
        for bad in ["http://b/y", "//b/y", "file:///etc/passwd", "y", "", "ftp://b/y"] {
            assert!(next("https://a/x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub.co/a", "https://HUB.co:443/b"));
        for other in ["http://hub.co", "https://hub.co:444", "https://hub.co.evil.org", "https://cdn.hub.co"] {
            assert!(!same("https://hub.co", other), "{other}");
        }
    }

    #[test]
    fn addresses_are_shown_without_their_signatures() {
        let uri: Uri = "https://cdn.co/blob/1?X-Signature=secret".parse().unwrap();
        assert_eq!(without_query(&uri), "https://cdn.co/blob/1");
    }
}
