//! A workflow or a network of agents as a drawing: nodes in rows by their distance from the start.

use rustc_hash::{FxHashMap, FxHashSet};

const BOX_WIDTH: i64 = 150;
const BOX_HEIGHT: i64 = 40;
const GAP_X: i64 = 24;
const GAP_Y: i64 = 44;

/// How far an arrow that leads back stands beside the one that leads on.
const ASIDE: i64 = 24;

/// Most nodes of a drawing; more are a list's business.
const MAX_NODES: usize = 120;

/// A node to be drawn.
pub(super) struct Node {
    pub(super) id: String,
    /// What it is, in small letters.
    pub(super) kind: String,
    /// `added`, `removed`, `changed`, `taken` or nothing.
    pub(super) class: &'static str,
}

/// An edge to be drawn.
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) label: String,
    pub(super) class: &'static str,
}

/// A drawing.
pub(super) struct Graph {
    pub(super) title: &'static str,
    pub(super) width: i64,
    pub(super) height: i64,
    pub(super) boxes: Vec<Drawn>,
    pub(super) arrows: Vec<Arrow>,
    /// Everything in words, for who cannot see it.
    pub(super) words: String,
}

/// A node in its place.
pub(super) struct Drawn {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) class: &'static str,
}

/// An edge in its place.
pub(super) struct Arrow {
    pub(super) path: String,
    pub(super) label: String,
    /// Where the label stands.
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) class: &'static str,
}

impl Graph {
    /// One word for the ids inside this drawing: no two on a page have the same.
    pub(super) fn key(&self) -> String {
        self.title.split(' ').next().unwrap_or_default().to_lowercase()
    }
}

/// Draws nodes and edges; nothing where there are none, or too many to be seen.
pub(super) fn draw(title: &'static str, nodes: Vec<Node>, edges: &[Edge]) -> Option<Graph> {
    if nodes.is_empty() || nodes.len() > MAX_NODES {
        return None;
    }
    let rows = rows(&nodes, edges);
    let widest = rows.iter().map(Vec::len).max().unwrap_or(1);
    let span = |boxes: usize| i64::try_from(boxes).unwrap_or(1) * (BOX_WIDTH + GAP_X) - GAP_X;
    let width = span(widest);
    let mut places = FxHashMap::default();
    for (depth, row) in rows.iter().enumerate() {
        let left = (width - span(row.len())) / 2;
        for (at, node) in row.iter().enumerate() {
            let x = left + i64::try_from(at).unwrap_or(0) * (BOX_WIDTH + GAP_X);
            let y = i64::try_from(depth).unwrap_or(0) * (BOX_HEIGHT + GAP_Y);
            places.insert(nodes[*node].id.clone(), (x, y));
        }
    }
    let height = i64::try_from(rows.len()).unwrap_or(1) * (BOX_HEIGHT + GAP_Y) - GAP_Y;
    let arrows = edges.iter().filter_map(|edge| arrow(edge, &places)).collect();
    let words = words(&nodes, edges);
    let in_place = |node: Node| {
        let (x, y) = places[&node.id];
        Drawn { x, y, id: node.id, kind: node.kind, class: node.class }
    };
    Some(Graph { title, width, height, boxes: nodes.into_iter().map(in_place).collect(), arrows, words })
}

fn arrow(edge: &Edge, places: &FxHashMap<String, (i64, i64)>) -> Option<Arrow> {
    let (from, to) = (places.get(&edge.from)?, places.get(&edge.to)?);
    let (x1, y1, x2, y2) = (from.0 + BOX_WIDTH / 2, from.1 + BOX_HEIGHT, to.0 + BOX_WIDTH / 2, to.1);
    let (path, x, y) = if y2 > y1 {
        let middle = i64::midpoint(y1, y2);
        (format!("M{x1},{y1} C{x1},{middle} {x2},{middle} {x2},{y2}"), i64::midpoint(x1, x2), middle)
    } else if to.1 < from.1 {
        // Upwards, beside the way down.
        let (x1, x2, y1, y2) = (x1 + ASIDE, x2 + ASIDE, from.1, to.1 + BOX_HEIGHT);
        let middle = i64::midpoint(y1, y2);
        let path = format!("M{x1},{y1} C{x1},{middle} {x2},{middle} {x2},{y2}");
        (path, i64::midpoint(x1, x2) + ASIDE, middle + ASIDE / 2)
    } else {
        // To itself or to a neighbour: around the right side.
        let (x1, x2, side) = (from.0 + BOX_WIDTH, to.0 + BOX_WIDTH, from.0.max(to.0) + BOX_WIDTH + GAP_X);
        let (y1, y2) = (from.1 + BOX_HEIGHT * 2 / 3, to.1 + BOX_HEIGHT / 3);
        let path = format!("M{x1},{y1} C{side},{y1} {side},{y2} {x2},{y2}");
        (path, (x1 + 6 * side + x2) / 8, i64::midpoint(y1, y2))
    };
    Some(Arrow { path, label: edge.label.clone(), x, y: y + 4, class: edge.class })
}

/// Nodes by rows: each below everything that leads to it, edges that close a cycle aside.
fn rows(nodes: &[Node], edges: &[Edge]) -> Vec<Vec<usize>> {
    let number: FxHashMap<&str, usize> = nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
    let mut next = vec![Vec::new(); nodes.len()];
    for edge in edges {
        if let (Some(from), Some(to)) = (number.get(edge.from.as_str()), number.get(edge.to.as_str())) {
            next[*from].push(*to);
        }
    }
    let mut depths = vec![0; nodes.len()];
    for node in in_order(&next) {
        for to in next[node.0].iter().filter(|to| !node.1.contains(to)) {
            depths[*to] = depths[*to].max(depths[node.0] + 1);
        }
    }
    let mut rows = vec![Vec::new(); depths.iter().max().map_or(0, |deepest| deepest + 1)];
    for (node, depth) in depths.into_iter().enumerate() {
        rows[depth].push(node);
    }
    rows.retain(|row| !row.is_empty());
    rows
}

/// Every node after all that lead to it, with those of its successors that lie on the way to it: edges to these
/// close a cycle.
fn in_order(next: &[Vec<usize>]) -> Vec<(usize, FxHashSet<usize>)> {
    let (mut seen, mut order) = (vec![false; next.len()], Vec::new());
    for start in 0..next.len() {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let mut way = vec![(start, 0, FxHashSet::default())];
        while let Some((node, at, mut back)) = way.pop() {
            match next[node].get(at) {
                None => order.push((node, back)),
                Some(to) => {
                    let on_the_way = *to == node || way.iter().any(|(known, ..)| known == to);
                    if on_the_way {
                        back.insert(*to);
                    }
                    way.push((node, at + 1, back));
                    if !seen[*to] {
                        seen[*to] = true;
                        way.push((*to, 0, FxHashSet::default()));
                    }
                }
            }
        }
    }
    order.reverse();
    order
}

fn words(nodes: &[Node], edges: &[Edge]) -> String {
    let class = |class: &str| if class.is_empty() { String::new() } else { format!(" ({class})") };
    let nodes = nodes.iter().map(|node| format!("{}{}", node.id, class(node.class))).collect::<Vec<_>>().join(", ");
    let label = |label: &str| if label.is_empty() { String::new() } else { format!(" ({label})") };
    let edge = |edge: &Edge| format!("{} to {}{}{}", edge.from, edge.to, label(&edge.label), class(edge.class));
    format!("{nodes}; {}", edges.iter().map(edge).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: &[&str], edges: &[(&str, &str)]) -> Option<Graph> {
        let node = |id: &&str| Node { id: (*id).to_owned(), kind: String::new(), class: "" };
        let edge = |(from, to): &(&str, &str)| Edge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            label: String::new(),
            class: "",
        };
        draw("t", nodes.iter().map(node).collect(), &edges.iter().map(edge).collect::<Vec<_>>())
    }

    fn depths(nodes: &[&str], edges: &[(&str, &str)]) -> Vec<i64> {
        graph(nodes, edges).unwrap().boxes.iter().map(|node| node.y / (BOX_HEIGHT + GAP_Y)).collect()
    }

    #[test]
    fn nodes_stand_below_what_leads_to_them() {
        assert_eq!(
            depths(&["a", "b", "c", "d"], &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d")]),
            [0, 1, 1, 2]
        );
        assert_eq!(depths(&["c", "b", "a"], &[("a", "b"), ("b", "c")]), [2, 1, 0]);
    }

    #[test]
    fn cycles_and_loose_ends_are_drawn_too() {
        let drawn = graph(&["a", "b"], &[("a", "b"), ("b", "a"), ("b", "b"), ("a", "gone")]).unwrap();
        assert_eq!(drawn.arrows.len(), 3);
        assert_eq!(depths(&["a", "b"], &[("a", "b"), ("b", "a")]), [0, 1]);
        assert!(graph(&[], &[]).is_none());
    }
}
