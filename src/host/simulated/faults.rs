//! What goes wrong, and when.

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The connection to that host is lost. A job that was started goes on.
    LoseConnection,
    /// The host reboots; its jobs die, its `/run` is empty, its services come back if they are enabled.
    Reboot,
    /// The operator's process dies: nothing more is called, all its locks are free.
    OperatorDies,
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the call has any effect.
    Before,
    /// After its effect, before its answer.
    After,
    /// When a job has made so many of its steps; other calls are not touched.
    AfterSteps(usize),
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// At the call of this number, from 0, counted over the world.
    pub call: usize,
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}
