using Hyperscope.Client;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

namespace Hyperscope.Attacks.Tests;

/// <summary>A tool prevents an effect by hand: the lab says so, and the guest lives on. What a guard does is for its own tests.</summary>
public sealed class PreventedTests(LabGuest guest)
{
    private const byte GeneralProtection = 13;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("cr0-wp", 0)]
    [InlineData("cr4-smep", 4)]
    [InlineData("cr4-smap", 4)]
    public async Task Control_register_that_keeps_its_value_is_told_from_one_that_changed(string name, byte register)
    {
        const ulong Wp = 1 << 16, SmepAndSmap = 3 << 20;
        ulong pinned = register == 0 ? Wp : SmepAndSmap;
        await AssertPreventedAsync(name, async tool =>
        {
            tool.On<CrEvent>(cr =>
            {
                if ((cr.OldValue & ~cr.NewValue & pinned) != 0)
                    cr.Block();
                else
                    cr.Continue();
            });
            await tool.EnableAsync(EventId.Cr, Cancel);
            await tool.Vcpus[0].ControlCrAsync(register, true, Cancel);
        });
    }

    [Theory]
    [InlineData("lstar", 0xc0000082)]
    [InlineData("sysenter", 0x176)]
    public Task Entry_point_that_keeps_its_value_is_told_from_one_that_changed(string name, uint register) => AssertPreventedAsync(name, async tool =>
    {
        tool.On<MsrEvent>(static msr => msr.Block());
        await tool.EnableAsync(EventId.Msr, Cancel);
        await tool.Vcpus[0].ControlMsrAsync(register, true, Cancel);
    });

    [Theory]
    [InlineData("syscall-table", "sys_call_table")]
    [InlineData("syscall-dispatch", "x64_sys_call")]
    [InlineData("kernel-text", "__x64_sys_ustat")]
    [InlineData("idt-gate", "idt_table")]
    [InlineData("modprobe-path", "modprobe_path")]
    public async Task Write_that_ends_in_an_exception_is_survived_by_module_and_guest(string name, string symbol)
    {
        var target = new Gva(await guest.SymbolAsync(symbol));
        int refused = 0;
        await AssertPreventedAsync(name, async tool =>
        {
            Gpa? first = await tool.Vcpus[0].TranslateAsync(target, Cancel);
            Assert.NotNull(first);
            ulong start = first.Value.Value & ~0xfffUL, length = name == "syscall-dispatch" ? 0x4000u : 0x1000u;
            tool.OnAsync<PageFaultEvent>(async fault =>
            {
                // The kernel itself writes to what is next to modprobe_path; to the others only the lab does.
                if (name != "modprobe-path" || fault.Gpa.Value - first.Value.Value < sizeof(ulong))
                {
                    refused++;
                    await fault.Vcpu.InjectExceptionAsync(GeneralProtection, 0, default, Cancel);
                    fault.Retry();
                    return;
                }

                fault.Continue();
            });
            await tool.EnableAsync(EventId.PageFault, Cancel);
            await tool.SetPageAccessAsync(new Gfn(start >> 12), (int)(length >> 12), PageAccess.Read | PageAccess.Execute, Cancel);
        });
        Assert.InRange(refused, 1, 8);
    }

    // Prevented while the tool is there, and again a success when it is gone.
    private async Task AssertPreventedAsync(string name, Func<IntrospectedVm, Task> arm)
    {
        LabAttack attack = AttackLab.Find(name);
        await using (AttachedTool tool = await guest.AttachAsync(Cancel))
        {
            await arm(tool.Vm);
            Assert.StartsWith(attack.BlockedLine, await guest.StrikeAsync(attack), StringComparison.Ordinal);
        }

        Assert.StartsWith(attack.SuccessLine, await guest.StrikeAsync(attack), StringComparison.Ordinal);
    }
}
