//! Any program as an agent: the prompt on its standard input, edits in its working directory.
//!
//! Its exit code is all that is known of it: 0 came to its end, anything else failed. What it prints is
//! kept as `transcript.log` and `stderr.log`; of it only the one block is read in which it says what it
//! decided and asks. It has no conversations: each attempt is a program of its own.

use std::{path::Path, time::Duration};

use super::{
    Agent, AgentError, AgentFacts, BoxFuture, Job, Ran, Session, Unusable, breach, end_of_file,
    killed, last_words, read_reply,
};
use crate::{
    outcome::{AgentEnd, AgentReport},
    process::{Ended, Environment, Program, Stop, Supervisor, Why, find_program},
    sandbox::Walls,
};

/// A command line that edits.
#[derive(Clone, Debug)]
pub struct CommandAgent {
    /// Its name in reports.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Starts it.
    pub supervisor: Supervisor,
    /// From SIGINT to SIGTERM when it has to be stopped.
    pub grace: Duration,
}

impl CommandAgent {
    /// A command with the usual grace.
    pub fn new(name: &str, argv: Vec<String>, supervisor: Supervisor) -> CommandAgent {
        CommandAgent { name: name.into(), argv, supervisor, grace: crate::process::GRACE }
    }

    /// The walls, with the files that its command line names. Not `/`, and nothing in which our own files lie:
    /// little would be left of the walls.
    fn walls(&self, job: &Job) -> Option<Walls> {
        let (program, arguments) = self.argv.split_first()?;
        let mut walls = job.walls_around(program)?;
        // `--rules=/opt/rules.toml` names one, too.
        let values = arguments.iter().filter_map(|word| Some(word.split_once('=')?.1));
        let named = arguments.iter().map(String::as_str).chain(values).map(Path::new);
        let own = [&job.workspace, &job.home, &job.run_dir];
        let outside = |path: &&Path| {
            let inside = own.iter().any(|own| path.starts_with(own));
            path.is_absolute() && path.exists() && !inside && !job.is_shared(path)
        };
        walls.read.extend(named.filter(outside).map(Path::to_owned));
        Some(walls)
    }

    async fn attempt(&self, job: &Job, stop: &Stop) -> Result<AgentReport, AgentError> {
        job.prepare()?;
        let (stdout, stderr) = (job.run_dir.join("transcript.log"), job.run_dir.join("stderr.log"));
        let mut program = Program::new(
            self.argv.clone(),
            &job.workspace,
            job.base_environment(),
            &stdout,
            &stderr,
        );
        program.walls = self.walls(job);
        program.label = format!("{} for {}", self.name, job.attempt);
        program.grace = self.grace;
        job.activity.set(format!("{} runs", self.name));
        let run = self.supervisor.run(program, job.prompt.as_bytes(), job.time_limit, stop);
        let completed = run.await;
        job.activity.set("");
        let completed = match completed {
            Ok(completed) => completed,
            Err(error) => return job.report_error(error),
        };
        let ended =
            breach(&completed.exit).unwrap_or(match (completed.why, completed.exit.ended) {
                (Why::TimedOut, _) => AgentEnd::TimedOut,
                (Why::Interrupted, _) => AgentEnd::Interrupted,
                (Why::Ended, Ended::Code(0)) => AgentEnd::Finished,
                (Why::Ended, Ended::Code(code)) => {
                    let said = last_words(&end_of_file(&stderr));
                    AgentEnd::Failed { code: Some(code), message: said.unwrap_or_default() }
                }
                (Why::Ended, Ended::Signal(signal)) => AgentEnd::Killed { signal },
            });
        let said = end_of_file(&stdout);
        let (reply, ended) = read_reply(job.purpose, ended, &said);
        let report = job.report(ended, Some(&completed.exit))?;
        let mut notes: Vec<String> =
            killed(report.survivors, &completed.exit.survivor_names).into_iter().collect();
        if completed.exit.output_cut {
            notes.push("its output was too long, and is not complete".into());
        }
        Ok(AgentReport { last_words: last_words(&said), reply, notes, ..report })
    }
}

impl Agent for CommandAgent {
    fn run<'a>(
        &'a self,
        job: &'a Job,
        held: Option<Session>,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<Ran, AgentError>> {
        Box::pin(async move {
            // Of another agent: nothing of it is to run beside this one.
            if let Some(session) = held {
                session.close().await?;
            }
            Ok(Ran { report: self.attempt(job, stop).await?, session: None })
        })
    }

    fn preflight(&self, environment: &Environment) -> Result<AgentFacts, Unusable> {
        let program = self.argv.first().map_or("", String::as_str);
        // A relative path is meant in the workspace, which is not there yet.
        if program.contains('/') && !program.starts_with('/')
            || find_program(program, environment).is_some()
        {
            return Ok(AgentFacts { name: self.name.clone(), version: None, warnings: Vec::new() });
        }
        Err(Unusable {
            message: format!("the program of agent `{}`, `{program}`, was not found", self.name),
            help: "check its command in the user's nightshift.yml, or the PATH of the schedule"
                .into(),
        })
    }
}
