using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Call stacks of vCPUs of a booted guest.</summary>
[Collection(EventGuestTests.Name)]
public sealed partial class StackTests(EventGuest live)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_open_is_followed_from_the_file_system_to_user_mode()
    {
        CallStack stack = await StackAtAsync("vfs_open", "read x </proc/version");
        Assert.True(stack.IsComplete, Text(stack));
        Assert.Equal("user mode", stack.End);
        Assert.All(stack.Frames.Skip(1), frame => Assert.True(frame.Source == FrameSource.Unwound, Text(stack)));
        Assert.Equal("vfs_open", stack.Frames[0].Symbol);
        string[] names = [.. stack.Frames.Select(static frame => frame.Symbol.Split('+')[0])];
        string[] expected = ["path_openat", "do_filp_open", "do_sys_openat2", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"];
        Assert.True(expected.SequenceEqual(names.Where(expected.Contains)), Text(stack));
    }

    [Fact]
    public async Task A_stack_through_a_module_is_followed()
    {
        Assert.SkipUnless(EventGuest.HasLab, "needs the attack lab; run: eng/build-attacks");
        CallStack stack = await StackAtAsync("proc_create", null);
        await live.RunAsync("rmmod attack");
        Assert.True(stack.IsComplete, Text(stack));
        Assert.Contains(stack.Frames, static frame => FrameOfModule().IsMatch(frame.Symbol));
        Assert.Contains(stack.Frames, static frame => frame.Symbol.StartsWith("do_one_initcall+", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_stopped_vCPU_has_a_stack_wherever_it_stands()
    {
        for (int round = 0; round < 5; round++)
        {
            var stacks = new ConcurrentQueue<CallStack>();
            var done = new CountdownEvent(live.Vm.Vcpus.Count);
            using (live.Vm.OnAsync<PauseVcpuEvent>(async pause =>
            {
                try
                {
                    stacks.Enqueue(await live.Linux.StackAsync(pause.Registers, pause.State.Sregs.Cs.Selector, Cancel));
                }
                finally
                {
                    pause.Continue();
                    done.Signal();
                }
            }))
            {
                await live.Vm.PauseAsync(Cancel);
                await Task.Run(() => done.Wait(Cancel), Cancel);
            }

            Assert.Equal(live.Vm.Vcpus.Count, stacks.Count);
            Assert.All(stacks, static stack => Assert.True(stack.IsComplete, Text(stack)));
        }
    }

    [GeneratedRegex(@"^(attack_init|init_module)\+0x[0-9a-f]+ \[attack\]$")]
    private static partial Regex FrameOfModule();

    private static string Text(CallStack stack) =>
        string.Join('\n', stack.Frames.Select(static frame => $"{frame.Source} {frame.Ip} {frame.Sp} {frame.Symbol}").Append(stack.End));

    // Where a command, or loading the module, first reaches a function.
    private async Task<CallStack> StackAtAsync(string function, string? command)
    {
        Gva at = live.Linux.Symbols.AddressOf(function);
        Gpa gpa = live.Linux.Layout.PhysicalOf(at)!.Value;
        CallStack? stack = null;
        using IDisposable handling = live.Vm.OnAsync<AccessEvent>(async access =>
        {
            if (access.Registers.Rip == at.Value)
                stack ??= await live.Linux.StackAsync(access.Registers, access.State.Sregs.Cs.Selector, Cancel);
            access.Continue();
        });
        await live.Vm.EnableAsync(EventId.Access, Cancel);
        await live.Vm.SetWatchAsync(gpa, 1, PageAccess.Execute, Cancel);
        try
        {
            if (command is null)
                await live.LoadModuleAsync();
            else
                await live.RunAsync(command);
        }
        finally
        {
            await live.Vm.SetWatchAsync(gpa, 1, PageAccess.None, Cancel);
            await live.Vm.DisableAsync(EventId.Access, Cancel);
        }

        return Assert.IsType<CallStack>(stack);
    }
}
