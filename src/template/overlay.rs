//! The overlay: a directory of the operator's whose files replace embedded ones.

use camino::{Utf8Path, Utf8PathBuf};

use super::TemplateError;
use super::scan::Problem;

/// What an overlay may hold at its top; playbooks are read by the playbook loader.
const FOLDERS: [&str; 2] = ["playbooks", "templates"];

/// A template's text and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Relative path, the name that playbooks use.
    pub name: String,
    /// Path to show in messages.
    pub origin: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// Shows a problem in the manner of tera's own reports: file, line, column, the text, a caret under it.
    pub fn report(&self, problem: &Problem) -> String {
        let before = self.text.get(..problem.start).unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let line = self.text.lines().nth(number - 1).unwrap_or_default();
        let gutter = " ".repeat(number.to_string().len());
        let indent: String = line
            .chars()
            .take(column)
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        format!(
            "error: {}\n{gutter}--> {}:{number}:{}\n{gutter} |\n{number} | {line}\n{gutter} | {indent}{}",
            problem.message,
            self.origin,
            column + 1,
            "^".repeat(problem.length.max(1)),
        )
    }
}

/// Replaces the sources that the overlay has a file for; refuses a file that replaces nothing.
pub(super) fn lay_over(sources: &mut [Source], overlay: &Utf8Path) -> Result<(), TemplateError> {
    refuse_strangers(overlay)?;
    let root = overlay.join("templates");
    if !root.is_dir() {
        return Ok(());
    }
    for path in files_below(&root)? {
        let name = path.strip_prefix(&root).unwrap_or(&path).as_str();
        let Some(source) = sources.iter_mut().find(|source| source.name == name) else {
            return Err(TemplateError::new(replaces_nothing(&path, sources)));
        };
        source.text = fs_err::read_to_string(&path).map_err(|error| unreadable(&error))?;
        source.origin = path.to_string();
    }
    Ok(())
}

/// A file beside `templates/` and `playbooks/` would be ignored in silence, so it is refused.
fn refuse_strangers(overlay: &Utf8Path) -> Result<(), TemplateError> {
    let stranger = entries(overlay)?.into_iter().find(|path| {
        path.file_name()
            .is_some_and(|name| !FOLDERS.contains(&name))
    });
    match stranger {
        None => Ok(()),
        Some(path) => Err(TemplateError::new(format!(
            "{path} replaces nothing: an overlay holds `templates/` and `playbooks/`, laid out as in `quorate`'s own"
        ))),
    }
}

fn replaces_nothing(path: &Utf8Path, sources: &[Source]) -> String {
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    format!(
        "{path} replaces no template; there are: {}",
        names.join(", ")
    )
}

fn files_below(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, TemplateError> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// A directory's entries, sorted, without dot-files (version control, editors).
fn entries(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, TemplateError> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory).map_err(|error| unreadable(&error))? {
        let path = entry.map_err(|error| unreadable(&error))?.path();
        let path = Utf8PathBuf::from_path_buf(path).map_err(|path| {
            TemplateError::new(format!("the name of {} is not UTF-8", path.display()))
        })?;
        if path.file_name().is_some_and(|name| !name.starts_with('.')) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(error: &std::io::Error) -> TemplateError {
    TemplateError::new(format!("failed to read the overlay: {error}"))
}

/// tera's report with the paths of files instead of the names of templates.
pub(super) fn with_origins(sources: &[Source], error: &tera::Error) -> String {
    sources.iter().fold(error.to_string(), |message, source| {
        message.replace(
            &format!("--> {}:", source.name),
            &format!("--> {}:", source.origin),
        )
    })
}
