//! Readings put together by hand: for the simulated host and for tests.

use camino::Utf8PathBuf;

use super::command::{Script, Status};
use super::facts::Machine;
use super::probe::{
    FileContent, FileReading, FileState, PackageReading, Readings, ScriptReading, UnitReading,
};

impl FileState {
    /// A regular file of root's, 0644, last modified at the epoch.
    #[must_use]
    pub fn regular(content: impl Into<Vec<u8>>) -> Self {
        let bytes = content.into();
        Self {
            mode: 0o644,
            owner: "root".to_owned(),
            group: "root".to_owned(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            modified_us: 0,
            content: FileContent::Bytes(bytes.into()),
        }
    }
}

impl Readings {
    /// Adds the host itself.
    #[must_use]
    pub fn with_machine(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<Utf8PathBuf>, state: FileState) -> Self {
        self.files
            .insert(path.into().into_string(), FileReading::Present(state));
        self
    }

    /// Adds that there is no such file.
    #[must_use]
    pub fn without_file(mut self, path: impl Into<Utf8PathBuf>) -> Self {
        self.files
            .insert(path.into().into_string(), FileReading::Absent);
        self
    }

    /// Adds an installed package.
    #[must_use]
    pub fn with_package(mut self, name: &str, version: &str) -> Self {
        let version = Some(version.to_owned());
        let reading = PackageReading {
            version,
            held: false,
        };
        self.packages.insert(name.to_owned(), reading);
        self
    }

    /// Adds an installed and held package.
    #[must_use]
    pub fn with_held_package(mut self, name: &str, version: &str) -> Self {
        let version = Some(version.to_owned());
        let reading = PackageReading {
            version,
            held: true,
        };
        self.packages.insert(name.to_owned(), reading);
        self
    }

    /// Adds that a package is not installed.
    #[must_use]
    pub fn without_package(mut self, name: &str) -> Self {
        self.packages
            .insert(name.to_owned(), PackageReading::default());
        self
    }

    /// Adds a unit.
    #[must_use]
    pub fn with_unit(mut self, name: &str, unit: UnitReading) -> Self {
        self.units.insert(name.to_owned(), unit);
        self
    }

    /// Adds a sysctl; `None`: this kernel has none of that name.
    #[must_use]
    pub fn with_sysctl(mut self, name: &str, value: Option<&str>) -> Self {
        self.sysctls
            .insert(name.to_owned(), value.map(str::to_owned));
        self
    }

    /// Adds what a script printed, returning `code`.
    #[must_use]
    pub fn with_script(mut self, script: Script, code: i32, stdout: &str) -> Self {
        let reading = ScriptReading {
            status: Status::Code(code),
            stdout: stdout.to_owned(),
        };
        self.scripts.insert(script, reading);
        self
    }
}
