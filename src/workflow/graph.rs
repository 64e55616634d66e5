//! The workflow as a graph: cycles and what can be reached.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::document::{ends, list, text_of};

/// Nodes by number, with where their edges lead.
pub(super) struct Graph<'a> {
    names: Vec<&'a str>,
    numbers: FxHashMap<&'a str, usize>,
    next: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    /// Reads the graph. Edges to nodes that do not exist are left out. `extra` adds edges that are written
    /// elsewhere, as (from, to).
    pub(super) fn new(document: &'a Value, extra: &[(String, String)]) -> Self {
        let mut graph = Self { names: Vec::new(), numbers: FxHashMap::default(), next: Vec::new() };
        for id in list(document, "nodes").iter().filter_map(|node| text_of(node, "id")) {
            // A second node with the same id is a fault of its own; here the two are one.
            if !graph.numbers.contains_key(id) {
                graph.numbers.insert(id, graph.names.len());
                graph.names.push(id);
                graph.next.push(Vec::new());
            }
        }
        let written = list(document, "edges").iter().map(ends);
        let extra = extra.iter().map(|(from, to)| (from.as_str(), to.as_str()));
        for (from, to) in written.chain(extra) {
            if let (Some(&from), Some(&to)) = (graph.numbers.get(from), graph.numbers.get(to)) {
                graph.next[from].push(to);
            }
        }
        graph
    }

    /// Groups of nodes that lead back to themselves without passing a node that `breaks` it, each in the order
    /// of the document.
    pub(super) fn cycles(&self, breaks: impl Fn(&str) -> bool) -> Vec<Vec<&'a str>> {
        let open: Vec<bool> = self.names.iter().map(|name| !breaks(name)).collect();
        let mut groups: Vec<Vec<usize>> = Components::of(&self.next, &open);
        groups.retain(|group| group.len() > 1 || self.next[group[0]].contains(&group[0]));
        for group in &mut groups {
            group.sort_unstable();
        }
        groups.sort_unstable();
        groups.into_iter().map(|group| group.into_iter().map(|node| self.names[node]).collect()).collect()
    }

    /// Every node that can be reached from `starts`, themselves included.
    pub(super) fn reachable<'b>(&self, starts: impl Iterator<Item = &'b str>) -> FxHashSet<&'a str> {
        let mut waiting: Vec<usize> = starts.filter_map(|name| self.numbers.get(name).copied()).collect();
        let mut seen: FxHashSet<usize> = waiting.iter().copied().collect();
        while let Some(node) = waiting.pop() {
            for &next in &self.next[node] {
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        seen.into_iter().map(|node| self.names[node]).collect()
    }
}

/// Strongly connected components by Tarjan's method, with a stack of its own: a chain of nodes may be long.
struct Components<'g> {
    next: &'g [Vec<usize>],
    open: &'g [bool],
    order: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    counter: usize,
    found: Vec<Vec<usize>>,
}

/// Marks a node that has not been visited.
const UNSEEN: usize = usize::MAX;

impl<'g> Components<'g> {
    fn of(next: &'g [Vec<usize>], open: &'g [bool]) -> Vec<Vec<usize>> {
        let count = next.len();
        let mut components = Self {
            next,
            open,
            order: vec![UNSEEN; count],
            low: vec![0; count],
            on_stack: vec![false; count],
            stack: Vec::new(),
            counter: 0,
            found: Vec::new(),
        };
        for (start, open) in open.iter().enumerate() {
            if *open && components.order[start] == UNSEEN {
                components.visit(start);
            }
        }
        components.found
    }

    fn enter(&mut self, node: usize) {
        self.order[node] = self.counter;
        self.low[node] = self.counter;
        self.counter += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
    }

    fn visit(&mut self, start: usize) {
        self.enter(start);
        let mut path = vec![(start, 0)];
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            if let Some(&to) = self.next[node].get(*edge) {
                *edge += 1;
                if !self.open[to] {
                    continue;
                }
                if self.order[to] == UNSEEN {
                    self.enter(to);
                    path.push((to, 0));
                } else if self.on_stack[to] {
                    self.low[node] = self.low[node].min(self.order[to]);
                }
            } else {
                path.pop();
                self.leave(node, path.last().map(|(parent, _)| *parent));
            }
        }
    }

    fn leave(&mut self, node: usize, parent: Option<usize>) {
        if let Some(parent) = parent {
            self.low[parent] = self.low[parent].min(self.low[node]);
        }
        if self.low[node] != self.order[node] {
            return;
        }
        let mut group = Vec::new();
        while let Some(member) = self.stack.pop() {
            self.on_stack[member] = false;
            group.push(member);
            if member == node {
                break;
            }
        }
        self.found.push(group);
    }
}
