using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests;

/// <summary>The hand-over between a software vCPU and an accelerator, with one that never executes anything itself.</summary>
public sealed class AcceleratorTests
{
}
