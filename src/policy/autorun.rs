//! Files that some tool runs without being asked, on the machine of whoever takes the branch.
//!
//! Knows names only. What such a file may do is the reviewer's to read; which of them may change at all is for the
//! denied and the protected paths to say.

use std::sync::LazyLock;

use globset::GlobSet;

use super::rules::{Case, globs, matches};
use crate::ids::RepoPath;

/// Globs, and when their files run. The list is the design's safety review and what has been used in attacks since:
/// editors, shells, git, agents, package managers, build tools, test runners.
const FILES: [(&str, &[&str]); 12] = [
    (
        "an editor runs it, or what it names, when the directory is opened",
        &[
            "**/.vscode/**",
            "**/.idea/**",
            "**/.fleet/**",
            "**/.zed/**",
            "**/*.code-workspace",
            "**/.vimrc",
            "**/.exrc",
            "**/.nvimrc",
            "**/.nvim.lua",
            "**/.dir-locals.el",
            "**/.sublime-project",
            "**/*.sublime-project",
        ],
    ),
    (
        "a shell or a version manager runs it when the directory is entered",
        &[
            "**/.envrc",
            "**/.env.sh",
            "**/mise.toml",
            "**/.mise.toml",
            "**/.mise/**",
            "**/.tool-versions",
            "**/flake.nix",
            "**/shell.nix",
            "**/devbox.json",
        ],
    ),
    (
        "a coding agent obeys it, or runs what it names",
        &[
            "**/.claude/**",
            "**/.mcp.json",
            "**/.cursor/**",
            "**/.gemini/**",
            "**/.codex/**",
            "**/.windsurf/**",
            "**/CLAUDE.md",
            "**/AGENTS.md",
            "**/GEMINI.md",
            "**/.cursorrules",
            ".github/copilot-instructions.md",
        ],
    ),
    (
        "git or its hooks run what it names",
        &[
            "**/.husky/**",
            "**/.githooks/**",
            "**/.pre-commit-config.y*ml",
            "**/.pre-commit-hooks.y*ml",
            "**/lefthook*.y*ml",
            "**/.lefthook/**",
            "**/.gitattributes",
            "**/.gitmodules",
            "**/.gitconfig",
            "**/.lfsconfig",
            "**/.lintstagedrc*",
        ],
    ),
    (
        "opening it in a container runs what it names",
        &[
            "**/.devcontainer/**",
            "**/devcontainer.json",
            "**/Vagrantfile",
            "**/Dockerfile*",
            "**/*compose*.y*ml",
            "**/.gitpod.yml",
        ],
    ),
    (
        "cargo or rustup runs it, or what it names",
        &["**/.cargo/**", "**/build.rs", "**/rust-toolchain", "**/rust-toolchain.toml"],
    ),
    (
        "a package manager of JavaScript runs it, or what it names",
        &[
            "**/package.json",
            "**/.npmrc",
            "**/.yarnrc",
            "**/.yarnrc.yml",
            "**/.yarn/**",
            "**/.pnpmfile.cjs",
            "**/.pnpmfile.mjs",
            "**/pnpm-workspace.yaml",
            "**/bunfig.toml",
            "**/deno.json",
            "**/deno.jsonc",
        ],
    ),
    (
        "a build, a linter or a test runner of JavaScript runs it",
        &[
            "**/{vite,vitest,webpack,rollup,babel,jest,eslint,prettier,tailwind,postcss,next,nuxt,astro,svelte,playwright,cypress,karma,tsup,rspack,metro}.{config,conf}.{js,cjs,mjs,ts,cts,mts}",
            "**/{jest,vitest}.setup.{js,cjs,mjs,ts}",
            "**/.eslintrc.{js,cjs}",
            "**/.prettierrc.{js,cjs,mjs}",
            "**/gulpfile.*",
            "**/Gruntfile.*",
            "**/.babelrc.js",
            "**/.mocharc.*",
        ],
    ),
    (
        "Python, its package managers or its test runners run it",
        &[
            "**/conftest.py",
            "**/setup.py",
            "**/sitecustomize.py",
            "**/usercustomize.py",
            "**/*.pth",
            "**/noxfile.py",
            "**/tox.ini",
            "**/tasks.py",
            "**/fabfile.py",
            "**/SConstruct",
        ],
    ),
    (
        "make or another runner of commands runs it",
        &[
            "**/Makefile",
            "**/GNUmakefile",
            "**/*.mk",
            "**/justfile",
            "**/Taskfile.y*ml",
            "**/CMakeLists.txt",
            "**/*.cmake",
            "**/meson.build",
            "**/configure",
            "**/configure.ac",
            "**/BUILD",
            "**/BUILD.bazel",
            "**/*.bzl",
            "**/WORKSPACE",
            "**/MODULE.bazel",
            "**/.bazelrc",
            "**/magefile.go",
        ],
    ),
    (
        "a build tool of the JVM runs it",
        &[
            "**/*.gradle",
            "**/*.gradle.kts",
            "**/gradlew",
            "**/gradlew.bat",
            "**/gradle/wrapper/**",
            "**/mvnw",
            "**/mvnw.cmd",
            "**/.mvn/**",
            "**/build.sbt",
            "**/project/*.sbt",
        ],
    ),
    (
        "its language's build tool runs it",
        &[
            "**/Rakefile",
            "**/*.gemspec",
            "**/Gemfile",
            "**/mix.exs",
            "**/Package.swift",
            "**/Directory.Build.props",
            "**/Directory.Build.targets",
            "**/*.targets",
            "**/build.zig",
            "**/.gdbinit",
            "**/.lldbinit",
            "**/Podfile",
        ],
    ),
];

/// When a file runs by itself; `None` for one that does not.
pub(super) fn when(path: &RepoPath) -> Option<&'static str> {
    static SETS: LazyLock<Vec<(&str, GlobSet)>> = LazyLock::new(|| {
        let set = |(words, patterns): &(&'static str, &[&str])| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            let set = globs("built in", &patterns, Case::Any);
            (*words, set.expect("the globs are constant, and a test compiles them"))
        };
        FILES.iter().map(set).collect()
    });
    SETS.iter().find(|(_, set)| matches(set, path)).map(|(words, _)| *words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_run_by_themselves_are_known() {
        for path in [
            ".vscode/tasks.json",
            "web/.envrc",
            ".claude/settings.json",
            ".mcp.json",
            ".husky/pre-commit",
            ".cargo/config.toml",
            "build.rs",
            "web/package.json",
            "tests/conftest.py",
            "Makefile",
            ".yarnrc.yml",
            ".npmrc",
            ".gitattributes",
            ".gitmodules",
            ".devcontainer/devcontainer.json",
            "vite.config.ts",
            "gradle/wrapper/gradle-wrapper.jar",
            "src/.CLAUDE/settings.json",
            "docs/x.pth",
        ] {
            assert!(when(&path.into()).is_some(), "{path}");
        }
        for path in [
            "src/build.rs.md",
            "src/main.rs",
            "docs/Makefile.md",
            "src/config.ts",
            "tests/test_a.py",
            "src/vscode/a.ts",
        ] {
            assert_eq!(when(&path.into()), None, "{path}");
        }
    }
}
