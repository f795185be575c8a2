//! Bars for a person at a terminal: one per play, with the host that is awaited longest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::lines;
use crate::engine::event::{Event, Record, TaskId};
use crate::engine::events::Listener;

/// The bar of the current play, and lines above it for what changes.
#[derive(Default)]
pub struct Bars {
    bar: Option<ProgressBar>,
    running: BTreeMap<TaskId, (Instant, String)>,
    summaries: BTreeMap<TaskId, String>,
}

impl Listener for Bars {
    fn on(&mut self, record: &Record) {
        match &record.event {
            Event::PlayStarted { name, tasks, .. } => self.begin(name, *tasks),
            Event::TaskStarted { task, change, .. } => {
                self.running
                    .insert(task.clone(), (Instant::now(), change.summary.clone()));
                self.summaries.insert(task.clone(), change.summary.clone());
                self.show_slowest();
            }
            Event::TaskFinished { task, .. } => {
                self.running.remove(task);
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                self.say(&record.event);
                self.show_slowest();
            }
            Event::RunFinished { .. } => self.end(),
            event => self.say(event),
        }
    }
}

impl Bars {
    fn begin(&mut self, name: &str, tasks: usize) {
        self.end();
        let bar = ProgressBar::new(u64::try_from(tasks).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template(
            "{spinner} {prefix} [{bar:20}] {pos}/{len} {elapsed} {wide_msg}",
        );
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, event: &Event) {
        for line in lines::text(event, &self.summaries) {
            match &self.bar {
                Some(bar) => bar.suspend(|| super::eprintln(&line)),
                None => super::eprintln(&line),
            }
        }
    }

    fn show_slowest(&self) {
        let Some(bar) = &self.bar else { return };
        let slowest = self.running.iter().min_by_key(|(_, (since, _))| *since);
        bar.set_message(slowest.map_or_else(String::new, |(task, (_, what))| {
            format!("{}: {what}", task.host)
        }));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end();
    }
}
