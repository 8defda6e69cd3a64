//! Files of repositories on a Hugging Face hub, kept in the cache folder that the hub's own tools use.
//!
//! ```text
//! list     revision -> commit and the names of its files
//! fetch    HEAD: size and hash -> blobs/<hash>.incomplete -> verified -> blobs/<hash> <- snapshots/<commit>/<name>
//! pin      refs/<revision> says which commit a name stood for
//! ```
//!
//! [`Client`] talks to the hub, [`Cache`] looks at what is there and never does. What is visible in the cache under its name is
//! whole: a file grows aside, is compared with the hash that the hub gave for it, and is renamed. What is found there is compared
//! with the hash that is its name before it is used, once (`.verified/<hash>` notes it). What was downloaded by
//! `huggingface_hub` is found, and the other way round; both hold the same locks while they write.
//!
//! The layout and the environment are those of `huggingface_hub` 2.4.0 (its pages "Understand caching" and "Environment variables").
//! Differs in: names are checked before they become paths, hashes are verified, a partial download always goes on, and nothing in the
//! cache says that a file does not exist on the hub (`.no_exist`).
//!
//! ```
//! use hub::{Cache, Kind, Repository};
//!
//! let repository = Repository::new(Kind::Model, "state-spaces/mamba2-130m")?;
//! assert_eq!(repository.to_string(), "state-spaces/mamba2-130m");
//!
//! // An empty cache knows no commit of it; `Client::list` and `Client::fetch` would ask the hub.
//! let cache = Cache::new(std::env::temp_dir().join("hub-example"));
//! assert_eq!(cache.commit(&repository, "main")?, None);
//! # Ok::<(), hub::HubError>(())
//! ```

mod cache;
mod certificates;
mod client;
mod download;
mod error;
mod event;
mod hash;
mod http;
mod names;
mod pace;
mod repository;
mod retry;
mod settings;
mod status;
mod verified;

pub use cache::Cache;
pub use certificates::Certificates;
pub use client::{Client, Listing};
pub use error::HubError;
pub use event::{Event, Report};
pub use names::is_commit;
pub use pace::Pace;
pub use repository::{Kind, Repository};
pub use retry::Retry;
pub use settings::{Settings, Token};
