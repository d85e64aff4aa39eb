// Cooperative matrices of 16 x 16, halves in and singles out: what the matrix units of most GPUs take. Halves stand in
// workgroup memory four to an element: they are stored, and loaded by the unit, in fewer and longer steps.

enable f16;
enable wgpu_cooperative_matrix;

alias MatrixA = coop_mat16x16<f16, A>;
alias MatrixB = coop_mat16x16<f16, B>;
alias MatrixC = coop_mat16x16<f32, C>;

const SIDE = 16u;

// Elements of `staged` that a quad takes: A's tile, then B's.
const PER_QUAD = 1u;

var<workgroup> staged: array<vec4<f16>, STAGED>;

fn stage(at: u32, quad: vec4<f16>) {
    staged[at] = quad;
}
