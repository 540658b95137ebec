//! The one place that runs the `git` program.
