//! Circles in a graph.

use std::collections::BTreeMap;

/// What a search knows of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the path that is being followed.
    Open,
    Done,
}

/// A circle of a graph.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Cycle {
    /// Its nodes in order, beginning with the least.
    pub(super) nodes: Vec<usize>,
    /// Where the edge from the first to the second of them was written.
    pub(super) place: usize,
}

/// Circles of a graph of `count` nodes whose edges have places: at least one for each set of nodes
/// that reach each other, and not more than there are edges.
pub(super) fn cycles(count: usize, edges: &BTreeMap<(usize, usize), usize>) -> Vec<Cycle> {
    let mut successors = vec![Vec::new(); count];
    for (from, to) in edges.keys() {
        successors[*from].push(*to);
    }
    let circles = circles(&successors).into_iter();
    let place = |nodes: &[usize]| edges.get(&(nodes[0], nodes[1 % nodes.len()]));
    circles
        .map(|nodes| Cycle { place: place(&nodes).copied().unwrap_or_default(), nodes })
        .collect()
}

fn circles(successors: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut marks = vec![Mark::New; successors.len()];
    let mut found = Vec::new();
    for start in 0..successors.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        // The path, with how many successors of each node were followed.
        let mut path = vec![(start, 0)];
        while let Some((node, followed)) = path.last_mut() {
            let Some(next) = successors[*node].get(*followed).copied() else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match marks[next] {
                Mark::Done => {}
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push((next, 0));
                }
                Mark::Open => {
                    let nodes = path.iter().map(|(node, _)| *node);
                    let mut circle: Vec<usize> = nodes.skip_while(|node| *node != next).collect();
                    let least = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
                    circle.rotate_left(least);
                    found.push(circle);
                }
            }
        }
    }
    found
}

/// A circle for people: `a → b → a`.
pub(super) fn text<'a>(cycle: &[usize], name: impl Fn(usize) -> &'a str) -> String {
    let nodes = cycle.iter().chain(cycle.first());
    nodes.map(|node| name(*node)).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let edges = edges.iter().copied().zip(0..).collect();
        cycles(count, &edges).into_iter().map(|cycle| cycle.nodes).collect()
    }

    #[test]
    fn circles_are_found_and_begin_with_the_least() {
        assert!(found(4, &[(0, 1), (1, 2), (0, 2), (3, 2)]).is_empty());
        assert_eq!(found(2, &[(0, 1), (1, 0)]), [[0, 1]]);
        assert_eq!(found(4, &[(0, 2), (2, 1), (2, 3), (3, 0)]), [[0, 2, 3]]);
        // Entered in its middle.
        assert_eq!(found(4, &[(0, 2), (1, 2), (2, 3), (3, 1)]), [[1, 2, 3]]);
        // Two that share a node.
        assert_eq!(found(3, &[(0, 1), (1, 0), (0, 2), (2, 0)]), [[0, 1], [0, 2]]);
    }

    #[test]
    fn a_circle_has_the_place_of_its_first_edge() {
        let edges = [((1, 2), 12), ((2, 3), 23), ((3, 1), 31)].into();
        assert_eq!(cycles(4, &edges), [Cycle { nodes: vec![1, 2, 3], place: 12 }]);
    }

    #[test]
    fn a_long_path_is_followed() {
        let edges: Vec<(usize, usize)> = (0..100_000).map(|n| (n, (n + 1) % 100_000)).collect();
        assert_eq!(found(100_000, &edges).len(), 1);
    }
}
