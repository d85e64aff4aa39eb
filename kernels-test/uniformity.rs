//! Whether all invocations of a workgroup meet at every barrier, as far as the text tells.
//!
//! naga does not ask, so a kernel that returns early and then waits runs on Vulkan by luck; browsers and DX12's
//! compiler refuse it. This follows WGSL's rules (section "Uniformity") except that it judges a variable by its worst
//! moment: a value is uniform if all invocations compute the same, control flow is uniform if all take the same way.

use std::collections::HashSet;

use naga::{
    AddressSpace, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module, Span, Statement, StorageAccess,
};

/// What is wrong with an entry point: each barrier or subgroup operation that some invocations may not reach.
pub fn faults(text: &str, module: &Module, entry: usize) -> Vec<String> {
    let function = &module.entry_points[entry].function;
    let uniform = |b: &Option<naga::Binding>| {
        use BuiltIn::{NumSubgroups, NumWorkGroups, SubgroupSize, WorkGroupId};
        matches!(b, Some(naga::Binding::BuiltIn(WorkGroupId | NumWorkGroups | NumSubgroups | SubgroupSize)))
    };
    let arguments = function.arguments.iter().map(|a| uniform(&a.binding)).collect();
    let found = Walk::of(module, function, arguments, true).faults;
    let say = |(what, span): &(&str, Span)| {
        let line = span.location(text).line_number;
        format!("{what} of line {line} is not reached by all invocations of a workgroup together")
    };
    found.iter().map(say).collect()
}

/// One function, called with arguments of this uniformity.
struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    arguments: Vec<bool>,
    /// Variables that may differ between invocations, and results of calls that do.
    varying: HashSet<Handle<LocalVariable>>,
    varying_results: HashSet<Handle<Expression>>,
    /// Some invocations have left the function, the innermost loop or switch, or this turn of the loop.
    returned: bool,
    broken: bool,
    continued: bool,
    varying_return: bool,
    faults: Vec<(&'static str, Span)>,
}

impl<'a> Walk<'a> {
    fn of(module: &'a Module, function: &'a Function, arguments: Vec<bool>, flow: bool) -> Self {
        let mut walk = Walk {
            module,
            function,
            arguments,
            varying: HashSet::new(),
            varying_results: HashSet::new(),
            returned: false,
            broken: false,
            continued: false,
            varying_return: false,
            faults: Vec::new(),
        };
        // A variable that varies late in a loop varies early in its next turn: until nothing new is found.
        loop {
            let before = (walk.varying.len(), walk.varying_results.len());
            walk.faults.clear();
            (walk.returned, walk.broken, walk.continued) = (false, false, false);
            walk.block(&function.body, flow);
            if before == (walk.varying.len(), walk.varying_results.len()) {
                return walk;
            }
        }
    }

    fn block(&mut self, block: &Block, entered: bool) {
        for (statement, span) in block.span_iter() {
            let flow = entered && !self.returned && !self.broken && !self.continued;
            let mut meet = |what| {
                if !flow {
                    self.faults.push((what, *span));
                }
            };
            match statement {
                Statement::ControlBarrier(_) => meet("the barrier"),
                Statement::WorkGroupUniformLoad { .. } => meet("workgroupUniformLoad"),
                Statement::SubgroupBallot { .. } => meet("subgroupBallot"),
                Statement::SubgroupGather { .. } | Statement::SubgroupCollectiveOperation { .. } => {
                    meet("the subgroup operation");
                }
                Statement::Block(inner) => self.block(inner, flow),
                Statement::If { condition, accept, reject } => {
                    let same = flow && self.uniform(*condition);
                    self.block(accept, same);
                    self.block(reject, same);
                }
                Statement::Switch { selector, cases } => {
                    let same = flow && self.uniform(*selector);
                    let outer = std::mem::replace(&mut self.broken, false);
                    cases.iter().for_each(|case| self.block(&case.body, same));
                    self.broken = outer;
                }
                Statement::Loop { body, continuing, break_if } => self.turn(body, continuing, *break_if, flow),
                Statement::Break => self.broken |= !flow,
                Statement::Continue => self.continued |= !flow,
                Statement::Kill => self.returned |= !flow,
                Statement::Return { value } => {
                    self.returned |= !flow;
                    self.varying_return |= !flow || value.is_some_and(|v| !self.uniform(v));
                }
                Statement::Store { pointer, value } => {
                    if let Some(Expression::LocalVariable(local)) = self.root(*pointer)
                        && (!flow || !self.uniform(*value) || !self.path_is_uniform(*pointer))
                    {
                        self.varying.insert(*local);
                    }
                }
                Statement::Call { function, arguments, result } => self.call(*function, arguments, *result, flow),
                _ => {}
            }
        }
    }

    fn turn(&mut self, body: &Block, continuing: &Block, break_if: Option<Handle<Expression>>, flow: bool) {
        let outer = (self.broken, self.continued);
        (self.broken, self.continued) = (false, false);
        // Whoever leaves in the first turn is missed in the second.
        for _ in 0..2 {
            self.block(body, flow);
            self.continued = false;
            self.block(continuing, flow);
            self.broken |= break_if.is_some_and(|condition| !self.uniform(condition));
        }
        (self.broken, self.continued) = outer;
    }

    fn call(
        &mut self,
        function: Handle<Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
        flow: bool,
    ) {
        let module = self.module;
        let same = arguments.iter().map(|&a| self.uniform(a)).collect();
        let inner = Walk::of(module, &module.functions[function], same, flow);
        self.faults.extend(inner.faults);
        if let Some(result) = result
            && (inner.varying_return || inner.returned)
        {
            self.varying_results.insert(result);
        }
        // What a function does through a pointer is not followed.
        for &argument in arguments {
            if let Some(Expression::LocalVariable(local)) = self.root(argument) {
                self.varying.insert(*local);
            }
        }
    }

    /// What a pointer points into.
    fn root(&self, pointer: Handle<Expression>) -> Option<&'a Expression> {
        match &self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.root(*base),
            root @ (Expression::LocalVariable(_) | Expression::GlobalVariable(_)) => Some(root),
            _ => None,
        }
    }

    fn path_is_uniform(&self, pointer: Handle<Expression>) -> bool {
        match self.function.expressions[pointer] {
            Expression::Access { base, index } => self.uniform(index) && self.path_is_uniform(base),
            Expression::AccessIndex { base, .. } => self.path_is_uniform(base),
            _ => true,
        }
    }

    /// Whether all invocations compute the same value.
    fn uniform(&self, expression: Handle<Expression>) -> bool {
        let all = |list: &[Handle<Expression>]| list.iter().all(|&e| self.uniform(e));
        match &self.function.expressions[expression] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::ArrayLength(_)
            | Expression::GlobalVariable(_)
            | Expression::LocalVariable(_)
            | Expression::WorkGroupUniformLoadResult { .. } => true,
            Expression::FunctionArgument(i) => self.arguments[*i as usize],
            Expression::CallResult(_) => !self.varying_results.contains(&expression),
            Expression::Load { pointer } => {
                let same = match self.root(*pointer) {
                    Some(Expression::LocalVariable(local)) => !self.varying.contains(local),
                    Some(Expression::GlobalVariable(global)) => match self.module.global_variables[*global].space {
                        AddressSpace::Uniform | AddressSpace::Immediate => true,
                        AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                        _ => false,
                    },
                    _ => false,
                };
                same && self.path_is_uniform(*pointer)
            }
            Expression::Compose { components, .. } => all(components),
            Expression::Access { base, index } => all(&[*base, *index]),
            Expression::AccessIndex { base, .. } => self.uniform(*base),
            Expression::Splat { value, .. } => self.uniform(*value),
            Expression::Swizzle { vector, .. } => self.uniform(*vector),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => self.uniform(*expr),
            Expression::Relational { argument, .. } => self.uniform(*argument),
            Expression::Binary { left, right, .. } => all(&[*left, *right]),
            Expression::Select { condition, accept, reject } => all(&[*condition, *accept, *reject]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                self.uniform(*arg) && [arg1, arg2, arg3].into_iter().flatten().all(|&e| self.uniform(e))
            }
            _ => false,
        }
    }
}

#[test]
fn barriers_are_judged_as_wgsl_does() {
    let judge = |body: &str| {
        let text = format!(
            "struct P {{ n: u32 }}
            var<immediate> p: P;
            @group(0) @binding(0) var<storage, read> x: array<u32>;
            @group(0) @binding(1) var<storage, read_write> y: array<u32>;
            var<workgroup> tile: array<u32, 64>;
            fn twice(v: u32) -> u32 {{ return 2u * v; }}
            fn wait() {{ workgroupBarrier(); }}
            @compute @workgroup_size(64)
            fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{ {body} }}"
        );
        let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
        faults(&text, &module, 0).is_empty()
    };
    let good = [
        "workgroupBarrier();",
        "if group.x < p.n { workgroupBarrier(); }",
        "if group.x >= p.n { return; } workgroupBarrier();",
        "if local < p.n { y[local] = 1u; } workgroupBarrier();",
        "for (var k = 0u; k < p.n; k++) { tile[local] = k; workgroupBarrier(); }",
        "for (var k = 0u; k < x[group.x]; k++) { if k == 3u { break; } workgroupBarrier(); }",
        "for (var s = 32u; s > 0u; s >>= 1u) { if local < s { tile[local] += tile[local + s]; } workgroupBarrier(); }",
        "for (var k = local; k < p.n; k += 64u) { if k == 9u { break; } } workgroupBarrier();",
        "switch local { case 0u: { y[0] = 1u; } default: { break; } } workgroupBarrier();",
        "var n = twice(p.n); if n > 3u { wait(); }",
        "tile[local] = 1u; let v = workgroupUniformLoad(&tile[0]); if v == 1u { workgroupBarrier(); }",
    ];
    let bad = [
        "if local < p.n { workgroupBarrier(); }",
        "if local >= p.n { return; } workgroupBarrier();",
        "if x[local] > 0u { workgroupBarrier(); }",
        "if y[0] > 0u { workgroupBarrier(); }",
        "if tile[0] > 0u { workgroupBarrier(); }",
        "for (var k = local; k < p.n; k += 64u) { workgroupBarrier(); }",
        "for (var k = 0u; k < p.n; k++) { if local == k { break; } workgroupBarrier(); }",
        "for (var k = 0u; k < p.n; k++) { workgroupBarrier(); if local == k { break; } }",
        "for (var k = 0u; k < p.n; k++) { if local == k { continue; } workgroupBarrier(); }",
        "var n = 0u; if local == 0u { n = 1u; } if n > 0u { workgroupBarrier(); }",
        "if twice(local) > 3u { workgroupBarrier(); }",
        "if local < p.n { wait(); }",
        "if local < p.n { y[0] = subgroupAdd(local); }",
        "if local < p.n { tile[0] = 1u; let v = workgroupUniformLoad(&tile[0]); y[0] = v; }",
    ];
    good.iter().for_each(|body| assert!(judge(body), "should pass: {body}"));
    bad.iter().for_each(|body| assert!(!judge(body), "should be found: {body}"));
}
