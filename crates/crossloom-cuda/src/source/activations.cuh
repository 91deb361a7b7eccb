// Functions of one number and their derivatives.

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
DEVICE float recip(float x) { return 1.0f / x; }

DEVICE float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}
DEVICE float gelu_tanh_grad(float x) {
  float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608f * (1.0f + 0.134145f * x * x);
}
DEVICE float gelu_erf(float x) { return 0.5f * x * (1.0f + erff(0.7071067812f * x)); }
DEVICE float gelu_erf_grad(float x) {
  return 0.5f * (1.0f + erff(0.7071067812f * x)) + x * expf(-0.5f * x * x) * 0.3989422804f;
}
DEVICE float gated(float a, float x) {
  float s = sigmoid(a * x);
  return s + a * x * s * (1.0f - s);
}
DEVICE float quick_gelu(float x) { return x * sigmoid(1.702f * x); }
DEVICE float quick_gelu_grad(float x) { return gated(1.702f, x); }
DEVICE float silu(float x) { return x * sigmoid(x); }
DEVICE float silu_grad(float x) { return gated(1.0f, x); }

