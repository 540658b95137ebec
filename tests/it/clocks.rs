//! A real night while its clock is set. The clock of the machine stays as it is: a small library, built here, stands
//! before it for this one process.

use std::{fs, path::Path, process::Command};

use crate::{
    resume::wait_for,
    support::{kernel, night::TestNight},
    together::{ended, start},
};

/// The time of day, moved by as many seconds as a file says. All other clocks as they are.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    long result = syscall(SYS_clock_gettime, id, at);
    const char *name = getenv("CLOCK_IS_OFF_BY");
    if (result != 0 || id != CLOCK_REALTIME || !name) return (int)result;
    char text[32] = {0};
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
    close(file);
    return 0;
}
"#;

/// Builds the library; false where there is no compiler.
pub(crate) fn build(directory: &Path) -> bool {
    let source = directory.join("clock.c");
    fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(directory.join("clock.so"))
        .arg(&source)
        .status();
    let there = built.is_ok_and(|status| status.success());
    if !there {
        kernel::missing("no C compiler to build a clock with");
    }
    there
}

/// A night whose clock is off by what [`set`] says.
pub(crate) fn with_a_clock(night: TestNight) -> TestNight {
    let (library, by) = (night.path("clock.so"), night.path("clock"));
    night.env("LD_PRELOAD", library.to_str().unwrap()).env("CLOCK_IS_OFF_BY", by.to_str().unwrap())
}

/// Sets the clock: seconds beside the machine's. One write of a new file, so that nobody reads half of it.
pub(crate) fn set(night: &TestNight, seconds: i64) {
    fs::write(night.path("clock-next"), seconds.to_string()).unwrap();
    fs::rename(night.path("clock-next"), night.path("clock")).unwrap();
}

#[test]
fn a_clock_that_is_set_during_a_night_ends_nothing_and_begins_nothing_early() {
    let script = TestNight::waits("echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt");
    let night = TestNight::new().task("a", "Add one").task("b", "Add two").agent(&script);
    if !build(&night.path("")) {
        return;
    }
    let night = with_a_clock(night).one_at_a_time().commit();
    let child = start(&night, &["--max-time", "30m"]);
    wait_for("the agent", || night.agents() == 1);
    let seen = |times: usize| {
        wait_for("the gap in its record", || {
            let text = fs::read_to_string(night.journal().unwrap()).unwrap();
            text.matches("\"event\":{\"time_passed\"").count() == times
        });
    };
    set(&night, -3_600);
    seen(1);
    // Past the end of the night's half hour, as the wall has it.
    set(&night, 3_600);
    seen(2);
    night.go(&["a", "b"]);
    let ran = ended(night, child).exit(0).landed(["a", "b"]);
    let ran =
        ran.says("the clock was set back by 60m00s").says("the clock was set forward by 120m00s");
    let journal = fs::read_to_string(ran.journal()).unwrap();
    assert!(journal.contains("\"clock_s\":-3600"), "{journal}");
    assert!(!journal.contains("timed_out"), "{journal}");
}
