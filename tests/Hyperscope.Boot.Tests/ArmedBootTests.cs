using Hyperscope.Client;
using Hyperscope.Introspection;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Hyperscope.X64;
using Hyperscope.X64.Execution;

namespace Hyperscope.Boot.Tests;

/// <summary>Debian boots while a tool guards its kernel's text and read-only data.</summary>
public sealed class ArmedBootTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_kernel_patches_itself_under_guard_and_boots()
    {
        await using DebianGuest guest = DebianGuest.Create(vcpus: 1, "true");

        // The first segment of vmlinux is text and read-only data; the kernel is not relocated when it is entered at its 64-bit entry.
        MemoryPiece text = guest.Image.Pieces[0];
        Dictionary<Gfn, PageAccess> guarded = Guarded(text);
        Assert.InRange(guarded.Count, 1000, 20000);
        using var introspector = new Introspector(guest.Vm);
        (StreamSocket hypervisorEnd, StreamSocket toolEnd) = StreamSocket.CreatePair();
        Assert.Equal(ControlError.None, introspector.Hook(hypervisorEnd));
        Assert.Equal(ControlError.None, introspector.SetCommandPermission(-1, 1));
        Assert.Equal(ControlError.None, introspector.SetEventPermission(-1, 1));
        await using IntrospectedVm tool = await IntrospectedVm.StartAsync(toolEnd, cancellation: Cancel);
        guest.Vm.Start();
        int writes = 0, others = 0, astray = 0;
        tool.On<PageFaultEvent>(fault =>
        {
            if (!guarded.ContainsKey(new Gfn(fault.Gpa.Value >> 12)))
                astray++;
            if (fault.Access == PageAccess.Write)
                writes++;
            else
                others++;
            fault.Continue();
        });
        await tool.EnableAsync(EventId.PageFault, Cancel);
        await tool.SetPageAccessAsync(guarded, Cancel);
        Assert.Equal(guarded.Count, guest.Vm.AccessMap.RestrictedFrames);

        await guest.WaitForPowerOff();
        Assert.Contains(DebianInitramfs.ReadyMarker, guest.Serial.Text, StringComparison.Ordinal);

        // Alternatives, static calls and jump labels are patched at boot; nothing else may be reported.
        TestContext.Current.SendDiagnosticMessage($"{guarded.Count} frames guarded, {writes} writes reported");
        Assert.True(writes > 100, $"only {writes} writes were reported");
        Assert.Equal((0, 0), (others, astray));
    }

    /// <summary>Time cannot show 3 % on a machine that other work shares; these counts repeat exactly.</summary>
    [Fact]
    public async Task What_is_restricted_and_not_touched_costs_the_guest_nothing()
    {
        (ulong instructions, SlowPaths slow, _) = await BootOnInstructionClockAsync(isArmed: false);
        (ulong armedInstructions, SlowPaths armedSlow, int frames) = await BootOnInstructionClockAsync(isArmed: true);
        Assert.InRange(frames, 1000, 20000);
        Assert.InRange(slow.Walks, 100_000, 100_000_000);
        Assert.Equal((instructions, slow), (armedInstructions, armedSlow));
    }

    private static async Task<(ulong Instructions, SlowPaths Slow, int Frames)> BootOnInstructionClockAsync(bool isArmed)
    {
        await using DebianGuest guest = DebianGuest.Create(
            vcpus: 1, "head -c 200000 /bin/busybox | gzip | gunzip | sha256sum; for i in 1 2 3 4; do echo $i | cat; done", clock: new InstructionClock());
        int frames = 0;

        // From here on the kernel has patched itself. Both runs drop their translations at this instruction, as restricting does.
        guest.Serial.On("Write protecting the kernel read-only data", () =>
        {
            lock (guest.Vm.AccessMap.WriterLock)
            {
                foreach ((Gfn frame, PageAccess access) in isArmed ? Guarded(guest.Image.Pieces[0]) : [])
                {
                    guest.Vm.AccessMap.Set(frame, access);
                    frames++;
                }
            }

            guest.Vm.InvalidateTranslations();
        });
        guest.Vm.Start();
        await guest.WaitForPowerOff();
        Assert.Equal(0, guest.Vm.Memory.PageTracker.Asked);
        return (guest.Vm.InstructionsRetired, ((SoftwareVcpu)guest.Vm.Vcpus[0]).SlowPaths, frames);
    }

    // The gaps between text, read-only data and data are filled with one byte; the kernel gives them to its allocator, which writes to them.
    private static Dictionary<Gfn, PageAccess> Guarded(MemoryPiece text)
    {
        var guarded = new Dictionary<Gfn, PageAccess>();
        for (int offset = 0; offset + 4096 <= text.Bytes.Length; offset += 4096)
        {
            ReadOnlySpan<byte> page = text.Bytes.Span.Slice(offset, 4096);
            if (page.ContainsAnyExcept(page[0]))
                guarded.Add(new Gfn((text.Address.Value + (ulong)offset) >> 12), PageAccess.Read | PageAccess.Execute);
        }

        return guarded;
    }
}
