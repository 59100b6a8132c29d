namespace Hyperscope.Guard;

/// <summary>What a rule does when the kernel enters a function, while the vCPU waits.</summary>
/// <param name="Rule">Whose it is.</param>
/// <param name="Run">Does it.</param>
/// <param name="IsIdle">Says that there is nothing to do, without awaiting anything: that is so nearly each time, and costs half. Null: there
/// always is.</param>
internal sealed record GuardHook(GuardRule Rule, Func<HookCall, CancellationToken, ValueTask> Run, Func<HookCall, bool>? IsIdle = null);

/// <summary>The kernel enters a function.</summary>
/// <param name="session">The guard.</param>
/// <param name="registers">Registers: rdi, rsi, rdx, rcx are its arguments.</param>
/// <param name="system">System registers.</param>
/// <param name="shadowGs">KERNEL_GS_BASE.</param>
internal sealed class HookCall(GuardSession session, KvmRegs registers, KvmSregs system, ulong shadowGs)
{
    public GuardSession Session => session;

    public KvmRegs Registers => registers;

    /// <summary>The <c>struct task_struct</c> that the vCPU executes.</summary>
    public ValueTask<Gva> CurrentTaskAsync(CancellationToken cancellation) =>
        session.Kernel.CurrentTaskAsync(new Gva((long)system.Gs.Base < 0 ? system.Gs.Base : shadowGs), cancellation);
}
