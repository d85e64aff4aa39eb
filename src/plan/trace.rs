//! From tensors to a graph that can be compared: which nodes a run must compute, which values somebody still holds,
//! and which memory may be overwritten.
//!
//! Whether a value is still held is read off the reference counts: a node with more handles than the graph has edges
//! to it is held from outside, and the run keeps its value. So what a program keeps is computed once, and what it
//! does not keep is never stored. The same count tells when an update may take over the memory of its input.

use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;

use crate::tensor::{AnyOp, Meta, Node, NodeState, QuickMap, Storage, Tensor, Value};

/// Where an input of a node comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An output of a node of the graph.
    Node(usize, usize),
    /// Data.
    Leaf(usize),
}

/// One op of the graph. Its shapes follow from its inputs, so a plan is found without them: of a traced graph they are
/// empty, and [`Traced::whole`] has them.
pub(crate) struct GraphNode {
    pub op: Arc<dyn AnyOp>,
    pub inputs: Vec<Source>,
    pub input_metas: Vec<Meta>,
    pub metas: Vec<Meta>,
    pub at: &'static Location<'static>,
    /// Whether somebody holds its value beyond the run.
    pub kept: bool,
}

/// Data that the graph reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GraphLeaf {
    pub meta: Meta,
    pub kind: LeafKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LeafKind {
    /// A number of the host.
    Scalar,
    /// Elements from `offset` on of the graph's storage number `storage`.
    Stored { storage: usize, offset: usize },
}

/// What a plan depends on. Two runs with equal graphs use one plan.
pub(crate) struct Graph {
    pub nodes: Vec<GraphNode>,
    pub leaves: Vec<GraphLeaf>,
    /// For each storage, whether an update may overwrite it.
    pub donated: Vec<bool>,
}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.nodes {
            node.op.hash_into(state);
            node.inputs.hash(state);
            node.kept.hash(state);
        }
        self.leaves.hash(state);
        self.donated.hash(state);
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.leaves == other.leaves
            && self.donated == other.donated
            && self.nodes.len() == other.nodes.len()
            && self
                .nodes
                .iter()
                .zip(&other.nodes)
                .all(|(a, b)| a.kept == b.kept && a.inputs == b.inputs && a.op.same(&*b.op))
    }
}

/// A graph with the data of one run.
pub(crate) struct Traced {
    pub graph: Graph,
    /// The node behind each graph node.
    pub nodes: Vec<Arc<Node>>,
    /// The memory of each storage.
    pub storages: Vec<Storage>,
    /// The bits of each scalar leaf, 0 for the others.
    pub scalars: Vec<u32>,
    /// The leaf nodes whose storage is donated; poisoned after the run.
    pub given: Vec<Arc<Node>>,
}

/// Nodes of a small graph: tables of so many are not made larger node by node.
const SEVERAL: usize = 112;

/// Collects what `roots` need. `donors` are handles the caller gives up if the run succeeds.
///
/// # Panics
/// If a value was taken over by an update of an optimizer.
pub(crate) fn trace(roots: &[&Tensor], donors: &[&Tensor]) -> Traced {
    // Depth first, without recursion: an LSTM over thousands of steps must not overflow the stack.
    let mut order: Vec<Arc<Node>> = Vec::with_capacity(SEVERAL);
    let mut place: QuickMap<*const Node, Source> = QuickMap::with_capacity_and_hasher(SEVERAL, Default::default());
    let mut leaf_nodes: Vec<Arc<Node>> = Vec::new();
    let mut leaf_values: Vec<Option<Value>> = Vec::new();
    let mut leaves: Vec<(Meta, u32)> = Vec::new();
    let mut stack: Vec<(Arc<Node>, bool)> = Vec::new();
    let mut edges: QuickMap<*const Node, usize> = QuickMap::with_capacity_and_hasher(SEVERAL, Default::default());
    for root in roots {
        stack.push((Arc::clone(&root.node), false));
        while let Some((node, inputs_done)) = stack.pop() {
            let key = Arc::as_ptr(&node);
            if place.contains_key(&key) {
                continue;
            }
            let state = node.state();
            match &*state {
                NodeState::Pending(history) => {
                    if inputs_done {
                        place.insert(key, Source::Node(order.len(), 0));
                        for input in &history.inputs {
                            *edges.entry(Arc::as_ptr(&input.node)).or_default() += 1;
                        }
                        drop(state);
                        order.push(node);
                    } else {
                        let inputs: Vec<Arc<Node>> = history.inputs.iter().map(|t| Arc::clone(&t.node)).collect();
                        drop(state);
                        stack.push((node, true));
                        stack.extend(inputs.into_iter().rev().map(|n| (n, false)));
                    }
                }
                NodeState::Scalar(bits) => {
                    place.insert(key, Source::Leaf(leaves.len()));
                    leaves.push((node.metas[0].clone(), *bits));
                    leaf_values.push(None);
                    drop(state);
                    leaf_nodes.push(node);
                }
                NodeState::Ready { values, .. } => {
                    place.insert(key, Source::Leaf(leaves.len()));
                    for (meta, value) in node.metas.iter().zip(values) {
                        leaves.push((meta.clone(), 0));
                        leaf_values.push(Some(value.clone()));
                        leaf_nodes.push(Arc::clone(&node));
                    }
                }
                NodeState::Given => panic!(
                    "the tensor made at {} was taken over by an optimizer's update; compute what needs the old value \
                     (a loss, a second gradient) before the step, or keep a copy of it",
                    node.at
                ),
            }
        }
    }

    let source = |t: &Tensor| match place[&Arc::as_ptr(&t.node)] {
        Source::Node(n, _) => Source::Node(n, t.output),
        Source::Leaf(l) => Source::Leaf(l + t.output),
    };
    let mut nodes: Vec<GraphNode> = order
        .iter()
        .map(|node| {
            let state = node.state();
            let NodeState::Pending(history) = &*state else {
                panic!("a node was evaluated by another thread meanwhile")
            };
            GraphNode {
                op: Arc::clone(&history.op),
                inputs: history.inputs.iter().map(source).collect(),
                input_metas: Vec::new(),
                metas: Vec::new(),
                at: node.at,
                kept: false,
            }
        })
        .collect();
    for (graph_node, node) in nodes.iter_mut().zip(&order) {
        // One handle is ours, in `order`.
        let inside = 1 + edges.get(&Arc::as_ptr(node)).copied().unwrap_or(0);
        graph_node.kept = Arc::strong_count(node) > inside;
    }

    let mut storages: Vec<Storage> = Vec::new();
    let mut storage_of: QuickMap<usize, usize> = QuickMap::default();
    let scalars = leaves.iter().map(|l| l.1).collect();
    let graph_leaves: Vec<GraphLeaf> = leaves
        .into_iter()
        .zip(&leaf_values)
        .map(|((meta, _), value)| {
            let kind = match value {
                None => LeafKind::Scalar,
                Some(Value { storage, offset }) => {
                    let index = *storage_of.entry(storage.id()).or_insert_with(|| {
                        storages.push(storage.clone());
                        storages.len() - 1
                    });
                    LeafKind::Stored { storage: index, offset: *offset }
                }
            };
            GraphLeaf { meta, kind }
        })
        .collect();
    drop(leaf_values);
    let (donated, given) = donations(&storages, &storage_of, &leaf_nodes, donors, &edges);
    Traced { graph: Graph { nodes, leaves: graph_leaves, donated }, nodes: order, storages, scalars, given }
}

/// A storage may be overwritten if a donor has it and every handle on it is known: those of the donors and those of
/// leaves that only this graph holds.
fn donations(
    storages: &[Storage],
    storage_of: &QuickMap<usize, usize>,
    leaf_nodes: &[Arc<Node>],
    donors: &[&Tensor],
    edges: &QuickMap<*const Node, usize>,
) -> (Vec<bool>, Vec<Arc<Node>>) {
    let mut donated = vec![false; storages.len()];
    if donors.is_empty() {
        return (donated, Vec::new());
    }
    let mut known: QuickMap<*const Node, (Arc<Node>, usize)> = QuickMap::default();
    for node in leaf_nodes {
        known.entry(Arc::as_ptr(node)).or_insert_with(|| (Arc::clone(node), 0)).1 += 1;
    }
    let mut donor_handles: QuickMap<*const Node, usize> = QuickMap::default();
    for donor in donors {
        known.entry(Arc::as_ptr(&donor.node)).or_insert_with(|| (Arc::clone(&donor.node), 0));
        *donor_handles.entry(Arc::as_ptr(&donor.node)).or_default() += 1;
    }
    // Per storage: handles that known nodes have on it, and whether a node is also held by somebody else.
    let mut handles = vec![1; storages.len()];
    let mut offered = vec![false; storages.len()];
    let mut held = vec![false; storages.len()];
    let mut members: Vec<Vec<Arc<Node>>> = vec![Vec::new(); storages.len()];
    for (key, (node, listed)) in &known {
        if let NodeState::Ready { values, .. } = &*node.state() {
            let ours = 1 + listed + edges.get(key).copied().unwrap_or(0);
            let others = Arc::strong_count(node) > ours + donor_handles.get(key).copied().unwrap_or(0);
            for value in values {
                if let Some(&s) = storage_of.get(&value.storage.id()) {
                    handles[s] += 1;
                    held[s] |= others;
                    offered[s] |= donor_handles.contains_key(key);
                    members[s].push(Arc::clone(node));
                }
            }
        }
    }
    let mut given = Vec::new();
    for s in 0..storages.len() {
        donated[s] = offered[s] && !held[s] && storages[s].holders() == handles[s];
        if donated[s] {
            given.append(&mut members[s]);
        }
    }
    (donated, given)
}

impl Traced {
    /// The graph with the shapes of its nodes, for a plan.
    pub fn whole(&self) -> Graph {
        let whole = |(n, node): (&GraphNode, &Arc<Node>)| {
            let state = node.state();
            let NodeState::Pending(history) = &*state else {
                panic!("a node was evaluated by another thread meanwhile")
            };
            GraphNode {
                op: Arc::clone(&n.op),
                inputs: n.inputs.clone(),
                input_metas: history.inputs.iter().map(|t| t.meta().clone()).collect(),
                metas: node.metas.clone(),
                at: n.at,
                kept: n.kept,
            }
        };
        let nodes = self.graph.nodes.iter().zip(&self.nodes).map(whole).collect();
        Graph { nodes, leaves: self.graph.leaves.clone(), donated: self.graph.donated.clone() }
    }
}
