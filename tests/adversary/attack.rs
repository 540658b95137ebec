//! One attack: what it does, what would show that it came through, and where it is known to.

use std::fmt;

use nightshift::sandbox::{Limits, Tier};

/// Every attack says this first: one that could not even start has not been held by anything.
pub(super) const BEGUN: &str = "the attack has begun";
/// The code that an attack claims to have ended with, where it speaks in its supervisor's name.
pub(super) const FORGED: i32 = 77;

/// What stands before every attack in Python: calls by number, where the kernel was reached or not.
const PRELUDE: &str = r"
import ctypes, errno, os, platform, resource, signal, socket, struct, sys
E = os.environ
libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == 'aarch64'
def call(number, *arguments):
    ctypes.set_errno(0)
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    answer = libc.syscall(ctypes.c_long(number), *arguments)
    return answer, ctypes.get_errno()
def reached(number, *arguments):
    # An error about the arguments is the kernel's own code at work.
    answer, problem = call(number, *arguments)
    sys.exit(1 if answer < 0 and problem in (errno.EPERM, errno.EACCES, errno.ENOSYS) else 0)
";

/// The network of an attack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    Nobody,
    /// In T1, the port of the scene's server on another address.
    OurPort,
}

/// Where something does not hold, and the report says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) tier: Tier,
    pub(super) when: When,
    pub(super) words: &'static str,
}

/// When a gap is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    Always,
    /// Every user but root; against root's programs it holds.
    NotRoot,
    /// Linux before 6.12; from there on, it holds.
    WithoutScopes,
}

/// What an attack needs to come through without walls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Needs {
    Nothing,
    /// The user root. Without, only the walls are tried.
    Root,
    /// A kernel or machine with the thing that is attacked, which not all have.
    Luck,
}

/// An attack on the walls around one program.
#[derive(Clone, Debug)]
pub(super) struct Attack {
    pub(super) group: &'static str,
    pub(super) name: String,
    script: String,
    python: bool,
    /// That the script ends with 0 shows that it came through.
    pub(super) by_exit: bool,
    pub(super) needs: Needs,
    pub(super) reach: Reach,
    pub(super) limits: Option<Limits>,
    pub(super) gaps: Vec<Gap>,
    /// It listens, and somebody outside tries to reach it.
    pub(super) listens: bool,
    /// Its control has no supervisor either, because that alone holds it.
    pub(super) alone: bool,
}

impl Attack {
    /// A script of the shell.
    pub(super) fn sh(name: &str, script: &str) -> Attack {
        Attack {
            group: "",
            name: name.to_owned(),
            script: script.to_owned(),
            python: false,
            by_exit: false,
            needs: Needs::Nothing,
            reach: Reach::Nobody,
            limits: None,
            gaps: Vec::new(),
            listens: false,
            alone: false,
        }
    }

    /// A script in Python, where the shell cannot say it.
    pub(super) fn python(name: &str, script: &str) -> Attack {
        Attack { python: true, ..Attack::sh(name, script) }
    }

    /// A call with arguments that do no harm, by its numbers on x86-64 and aarch64.
    pub(super) fn call(name: &str, numbers: [u32; 2], arguments: &str) -> Attack {
        let [intel, arm] = numbers;
        let script = format!("reached({arm} if ARM else {intel}, {arguments})");
        Attack::python(&format!("the system call {name}"), &script).by_exit()
    }

    pub(super) fn of(self, group: &'static str) -> Attack {
        Attack { group, ..self }
    }

    pub(super) fn by_exit(mut self) -> Attack {
        self.by_exit = true;
        self
    }

    pub(super) fn needs(mut self, needs: Needs) -> Attack {
        self.needs = needs;
        self
    }

    pub(super) fn our_port(mut self) -> Attack {
        self.reach = Reach::OurPort;
        self
    }

    pub(super) fn limits(mut self, limits: Limits) -> Attack {
        self.limits = Some(limits);
        self
    }

    pub(super) fn listens(mut self) -> Attack {
        self.listens = true;
        self
    }

    pub(super) fn alone(mut self) -> Attack {
        self.alone = true;
        self
    }

    pub(super) fn gap(mut self, tier: Tier, when: When, words: &'static str) -> Attack {
        self.gaps.push(Gap { tier, when, words });
        self
    }

    pub(super) fn uses_python(&self) -> bool {
        self.python
    }

    pub(super) fn argv(&self) -> Vec<String> {
        let begun = BEGUN;
        let script = &self.script;
        let argv = if self.python {
            [
                "python3".to_owned(),
                "-c".to_owned(),
                format!("{PRELUDE}\nprint('{begun}', flush=True)\n{script}\n"),
            ]
        } else {
            ["sh".to_owned(), "-c".to_owned(), format!("echo '{begun}'\n{script}\n")]
        };
        argv.into()
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.group, self.name)
    }
}
