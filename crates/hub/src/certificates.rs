//! Who is trusted to say that a hub is who it says it is.

use std::fmt;
use std::fs;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::HubError;

/// Authorities in place of the built-in ones, those of Mozilla: where a proxy looks into connections, its own is among them.
#[derive(Clone)]
pub struct Certificates(Vec<Certificate<'static>>);

impl Certificates {
    /// Those in a PEM file.
    ///
    /// # Errors
    /// A file that cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self, HubError> {
        let text = fs::read(path).map_err(|error| HubError::io("read", path, error))?;
        let items = parse_pem(&text).filter_map(Result::ok);
        let found: Vec<_> = items
            .filter_map(|item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None })
            .collect();
        if found.is_empty() {
            let (variable, problem) = ("SSL_CERT_FILE", "a file without certificates");
            return Err(HubError::BadVariable { variable, value: path.display().to_string(), problem });
        }
        Ok(Self(found))
    }

    pub(crate) fn roots(&self) -> RootCerts {
        RootCerts::new_with_certs(&self.0)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.0.len())
    }
}
