//! Where the hub and its cache are: the environment of `huggingface_hub`.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Certificates, HubError, Pace, Retry};

/// Endpoint of those who set none.
const ENDPOINT: &str = "https://huggingface.co";

/// Variables that name a file of authorities: OpenSSL's, and those that the hub's own tools know.
const AUTHORITIES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Where to ask, where to keep, and who asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the hub without a slash at the end (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The cache (`HF_HUB_CACHE`, else `$HF_HOME/hub`).
    pub cache: PathBuf,
    /// Who asks (`HF_TOKEN`, else the file `$HF_HOME/token`).
    pub token: Option<Token>,
    /// Never to ask, only to look into the cache (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Authorities in place of the built-in ones (the PEM file that `SSL_CERT_FILE` names, else `REQUESTS_CA_BUNDLE` or
    /// `CURL_CA_BUNDLE`).
    pub certificates: Option<Certificates>,
    /// Attempts and pauses.
    pub retry: Retry,
    /// Bytes that must arrive in which time.
    pub pace: Pace,
}

/// A secret; it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as text, without the white space that files end in.
    ///
    /// None for a text that is empty or that cannot stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Settings {
    /// The settings of this process.
    ///
    /// # Errors
    /// A variable with an impossible value, no home folder, or a file of the token or of certificates that cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The same from other variables; an empty value counts as none.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let set = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let user = set("HOME").map(PathBuf::from);
        let path = |value: String| match (value.strip_prefix("~/"), &user) {
            (Some(rest), Some(user)) => user.join(rest),
            _ => PathBuf::from(value),
        };
        let home = match (set("HF_HOME"), set("XDG_CACHE_HOME"), &user) {
            (Some(home), ..) => Some(path(home)),
            (None, Some(caches), _) => Some(path(caches).join("huggingface")),
            (None, None, Some(user)) => Some(user.join(".cache/huggingface")),
            (None, None, None) => None,
        };
        let cache = match set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")) {
            Some(cache) => path(cache),
            None => home.as_ref().ok_or(HubError::NoCacheFolder)?.join("hub"),
        };
        let token_file =
            set("HF_TOKEN_PATH").map(path).or_else(|| home.as_ref().map(|home: &PathBuf| home.join("token")));
        Ok(Self {
            endpoint: endpoint(set("HF_ENDPOINT"))?,
            cache,
            token: token(set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")), token_file.as_deref())?,
            offline: is_on(set("HF_HUB_OFFLINE").as_deref()),
            certificates: AUTHORITIES
                .iter()
                .find_map(|name| set(name))
                .map(|file| Certificates::read(&path(file)))
                .transpose()?,
            retry: Retry::default(),
            pace: Pace::default(),
        })
    }
}

fn endpoint(value: Option<String>) -> Result<String, HubError> {
    let value = value.unwrap_or_else(|| ENDPOINT.to_owned());
    let trimmed = value.trim().trim_end_matches('/');
    let host = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
    if host.is_some_and(|host| !host.is_empty() && !host.contains(['?', '#', '@', ' '])) {
        return Ok(trimmed.to_owned());
    }
    Err(HubError::BadVariable {
        variable: "HF_ENDPOINT",
        value,
        problem: "no address that starts with https:// or http://",
    })
}

fn token(value: Option<String>, file: Option<&Path>) -> Result<Option<Token>, HubError> {
    let parse = |text: &str, variable| {
        // The value is a secret, also where it is a wrong one.
        let problem = "no token: it holds white space or characters that cannot be sent";
        Token::new(text).ok_or(HubError::BadVariable { variable, value: "..".to_owned(), problem })
    };
    if let Some(value) = value {
        return parse(&value, "HF_TOKEN").map(Some);
    }
    let Some(file) = file else { return Ok(None) };
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => parse(&text, "the token file").map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(HubError::io("read", file, error)),
    }
}

/// What counts as yes.
fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn cache(variables: &[(&str, &str)]) -> String {
        settings(variables).unwrap().cache.display().to_string()
    }

    #[test]
    fn the_cache_is_where_the_environment_says() {
        assert_eq!(cache(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "~/big")]), "/h/big/hub");
        assert_eq!(cache(&[("HF_HOME", "/big"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "")]), "/h/.cache/huggingface/hub");
        assert!(matches!(settings(&[]), Err(HubError::NoCacheFolder)));
    }

    #[test]
    fn the_endpoint_is_an_address() {
        let home = ("HOME", "/h");
        assert_eq!(settings(&[home]).unwrap().endpoint, "https://huggingface.co");
        let mirror = settings(&[home, ("HF_ENDPOINT", "http://127.0.0.1:80/hub/")]).unwrap();
        assert_eq!(mirror.endpoint, "http://127.0.0.1:80/hub");
        for bad in ["huggingface.co", "ftp://x", "https://", "https://user@host", "file:///etc"] {
            let error = settings(&[home, ("HF_ENDPOINT", bad)]).unwrap_err();
            assert!(error.to_string().starts_with("HF_ENDPOINT is"), "{error}");
        }
    }

    #[test]
    fn offline_is_said_in_several_ways() {
        for (value, offline) in [("1", true), ("true", true), ("ON", true), ("yes", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value}");
        }
    }

    #[test]
    fn tokens_come_from_a_variable_or_a_file_and_do_not_print() {
        let folder = tempfile::TempDir::new().unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(settings(&[home]).unwrap().token, None);
        fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let of_file = settings(&[home]).unwrap();
        assert_eq!(of_file.token, Token::new("hf_file"));
        assert!(!format!("{of_file:?}").contains("hf_file"));
        assert_eq!(settings(&[home, ("HF_TOKEN", " hf_x ")]).unwrap().token.unwrap().bearer(), "Bearer hf_x");
        let error = settings(&[home, ("HF_TOKEN", "secret\r\nHost: x")]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
