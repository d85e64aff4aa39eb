// The function of the plain recurrent layer, and its slope by its value.

override RELU: bool = false;

fn rnn_cell(a: f32) -> f32 {
    if RELU {
        return relu(a);
    }
    return tanh_accurate(a);
}

fn rnn_slope(y: f32) -> f32 {
    if RELU {
        return select(0.0, 1.0, y > 0.0);
    }
    return 1.0 - y * y;
}
