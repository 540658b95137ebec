//! What the tests stand on.

#[cfg(target_os = "linux")]
pub(crate) mod claude;
pub(crate) mod github;
#[cfg(target_os = "linux")]
pub(crate) mod kernel;
pub(crate) mod layers;
pub(crate) mod model;
pub(crate) mod night;
pub(crate) mod service;
