//! What the tests stand on.

pub(crate) mod github;
pub(crate) mod night;
