using System.Globalization;
using System.Reflection;
using Hyperscope.TestKit;

namespace Hyperscope.Client.Tests;

/// <summary>Every command, by its typed helper: the bytes that leave, and what becomes of the reply.</summary>
public sealed class CommandTests
{
    private static readonly KvmRegs Registers = new() { Rax = 0x1122334455667788, Rip = 0xFFFF, Rflags = 2 };

    // name, call (its result as text), request payload, reply data, result
    private static readonly (MessageId Id, Func<IntrospectedVm, Task<string>> Call, string Request, string Reply, string Result)[] Rows =
    [
        (MessageId.GetVersion, async vm => Text((await vm.GetVersionAsync()).Features.Singlestep),
            "", "01000000 00000000 01000000 00000000", "True"),
        (MessageId.VmCheckCommand, async vm => Text(await vm.CheckCommandAsync(MessageId.VcpuPause)), "0900 0000 00000000", "", "None"),
        (MessageId.VmCheckEvent, async vm => Text(await vm.CheckEventAsync(EventId.PageFault)), "0900 0000 00000000", "", "None"),
        (MessageId.VmGetInfo, async vm => Text((await vm.GetInfoAsync()).VcpuCount), "", "03000000 00000000 00000000 00000000", "3"),
        (MessageId.VmControlEvents, async vm => await Done(vm.EnableAsync(EventId.Unhook)), "0000 01 00 00000000", "", "done"),
        (MessageId.VmReadPhysical, async vm => Convert.ToHexString(await vm.ReadPhysicalAsync(new Gpa(0x1FFE), 2)),
            "FE1F000000000000 0200 0000 00000000", "ABCD", "ABCD"),
        (MessageId.VmWritePhysical, async vm => await Done(vm.WritePhysicalAsync(new Gpa(0x2000), new byte[] { 1, 2, 3 })),
            "0020000000000000 0300 0000 00000000 010203", "", "done"),
        (MessageId.VcpuGetInfo, async vm => Text(await vm.Vcpus[1].GetTscFrequencyAsync()),
            "0100 0000 00000000", "00CA9A3B00000000", "1000000000"),
        (MessageId.VcpuPause, async vm => await Done(vm.Vcpus[1].PauseAsync()), "0100 0000 00000000 01 00 0000 00000000", "", "done"),
        (MessageId.VcpuControlEvents, async vm => await Done(vm.Vcpus[1].ControlEventAsync(EventId.PageFault, true)),
            "0100 0000 00000000 0900 01 00 00000000", "", "done"),
        (MessageId.VcpuGetRegisters, async vm => Text((await vm.Vcpus[0].GetRegistersAsync(new uint[] { 0xC0000080 })).Msr(0xC0000080)),
            "0000 0000 00000000 0100 0000 00000000 800000C0",
            "0800000000000000" + Zeros(456) + "01000000 00000000 800000C0 00000000 010D000000000000", "3329"),
        (MessageId.VcpuSetRegisters, async vm => await Done(vm.Vcpus[0].SetRegistersAsync(Registers)),
            "0000 0000 00000000 8877665544332211" + Zeros(120) + "FFFF000000000000 0200000000000000", "", "done"),
        (MessageId.VcpuGetCpuid, async vm => Text(await vm.Vcpus[0].GetCpuidAsync(0x40000000, 1)),
            "0000 0000 00000000 00000040 01000000", "01000000 02000000 03000000 04000000",
            "CpuidResult { Eax = 1, Ebx = 2, Ecx = 3, Edx = 4 }"),
        (MessageId.VmControlCleanup, async vm => await Done(vm.ControlCleanupAsync(true)), "01 00 0000 00000000", "", "done"),
        (MessageId.VcpuControlCr, async vm => await Done(vm.Vcpus[0].ControlCrAsync(4, true)),
            "0000 0000 00000000 04 01 0000 00000000", "", "done"),
        (MessageId.VcpuInjectException, async vm => await Done(vm.Vcpus[0].InjectExceptionAsync(14, 6, 0xDEAD)),
            "0000 0000 00000000 0E 00 0000 06000000 ADDE000000000000", "", "done"),
        (MessageId.VmGetMaxGfn, async vm => Text(await vm.GetMaxGfnAsync()), "", "0000100000000000", "0x100000"),
        (MessageId.VcpuGetXcr, async vm => Text(await vm.Vcpus[0].GetXcr0Async()),
            "0000 0000 00000000 00 00000000000000", "0700000000000000", "7"),
        (MessageId.VcpuGetXsave, async vm => Text((await vm.Vcpus[0].GetXsaveAsync()).Length), "0000 0000 00000000", Zeros(4096), "4096"),
        (MessageId.VcpuSetXsave, async vm => await Done(vm.Vcpus[0].SetXsaveAsync(new byte[] { 0x7F, 3 })),
            "0000 0000 00000000 7F03", "", "done"),
        (MessageId.VcpuGetMtrrType, async vm => Text(await vm.Vcpus[0].GetMtrrTypeAsync(new Gpa(0xFEE00000))),
            "0000 0000 00000000 0000E0FE00000000", "00 00000000000000", "Uncacheable"),
        (MessageId.VcpuControlMsr, async vm => await Done(vm.Vcpus[0].ControlMsrAsync(0xC0000082, true)),
            "0000 0000 00000000 01 00 0000 820000C0", "", "done"),
        (MessageId.VmSetPageAccess, async vm => await Done(vm.SetPageAccessAsync(new Gpa(0x3000), PageAccess.Read | PageAccess.Execute)),
            "0100 0000 00000000 0030000000000000 05 01 0000 00000000", "", "done"),
        (MessageId.VcpuControlSinglestep, async vm => await Done(vm.Vcpus[0].ControlSinglestepAsync(true)),
            "0000 0000 00000000 01 00000000000000", "", "done"),
        (MessageId.VcpuTranslateGva, async vm => Text(await vm.Vcpus[0].TranslateAsync(new Gva(0x7FFF00001234))),
            "0000 0000 00000000 34120000FF7F0000", "3402000000000000", "0x234"),
        (MessageId.VmSetWatches, async vm => await Done(vm.SetWatchAsync(new Gpa(0x3008), 16, PageAccess.Write)),
            "0000 0100 00000000 0830000000000000 10000000 02 000000", "", "done"),
        (MessageId.VmGetWatchInfo, async vm => Text((await vm.GetWatchInfoAsync()).Passed),
            "", "0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000", "4"),
        (MessageId.VmCreateView, async vm => Text(await vm.CreateViewAsync()), "", "0300 000000000000", "3"),
        (MessageId.VmDestroyView, async vm => await Done(vm.DestroyViewAsync(3)), "0300 000000000000", "", "done"),
        (MessageId.VcpuSwitchView, async vm => await Done(vm.Vcpus[1].SwitchViewAsync(3)), "0100 0000 00000000 0300 000000000000", "", "done"),
        (MessageId.VcpuGetView, async vm => Text(await vm.Vcpus[1].GetViewAsync()), "0100 0000 00000000", "0300 000000000000", "3"),
        (MessageId.VcpuControlView, async vm => await Done(vm.Vcpus[1].ShowViewAsync(3, true)),
            "0100 0000 00000000 0300 01 00 00000000", "", "done"),
        (MessageId.VmSetViewPageAccess, async vm => await Done(vm.SetPageAccessAsync(3, new Gpa(0x3000), PageAccess.Read)),
            "0300 0100 00000000 0030000000000000 01 01 0000 00000000", "", "done"),
        (MessageId.VcpuChangeGfn, async vm => await Done(vm.ChangeGfnAsync(3, new Gfn(5), new Gfn(9))),
            "0000 0000 00000000 0300 000000000000 0500000000000000 0900000000000000", "", "done"),
        (MessageId.VmGetNextGfn, async vm => Text(await vm.GetNextGfnAsync()), "", "0000100000000000", "0x100000"),
        (MessageId.VmAllocateGfn, async vm => await Done(vm.AllocateGfnAsync(new Gfn(9))), "0900000000000000", "", "done"),
        (MessageId.VmFreeGfn, async vm => await Done(vm.FreeGfnAsync(new Gfn(9))), "0900000000000000", "", "done"),
        (MessageId.VmQueryPhysical, async vm => Text((await vm.QueryPhysicalAsync(new Gfn(9))).Pages),
            "0900000000000000", "0100000000000000 0002000000000000", "512"),
        (MessageId.VmGetMemoryFile, async vm => await vm.GetMemoryFileAsync(), "", "2F6D656D", "/mem"),
        (MessageId.VmSetWriteBitmap, async vm => await Done(vm.SendAsync(new VmSetWriteBitmap(3, 0), default)), "0300 0000 00000000", "", "done"),
    ];

    public static TheoryData<MessageId> Ids => [.. Rows.Select(static row => row.Id)];

    public static TheoryData<MessageId> IdsWithFixedReply =>
        [.. Rows.Where(static row => row.Reply.Length != 0 && row.Id is not (MessageId.VcpuGetXsave or MessageId.VmGetMemoryFile)).Select(static row => row.Id)];

    [Fact]
    public void Every_command_has_a_row()
    {
        IEnumerable<MessageId> structs = typeof(MessageId).Assembly.GetTypes()
            .Where(static type => type.IsValueType && type.GetInterfaces().Any(
                static i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(ICommand<>)))
            .Select(static type => (MessageId)type.GetProperty("Id", BindingFlags.Public | BindingFlags.Static)!.GetValue(null)!);
        Assert.Equal(structs.Order(), Rows.Select(static row => row.Id).Order());
    }

    [Theory]
    [MemberData(nameof(Ids))]
    public async Task The_bytes_leave_and_the_reply_is_understood(MessageId id)
    {
        (_, Func<IntrospectedVm, Task<string>> call, string request, string reply, string result) = Row(id);
        await using Hooked hooked = await Hooked.StartAsync();

        Task<string> calling = call(hooked.Vm);
        ReceivedMessage command = hooked.Hypervisor.Expect(id);
        Assert.Equal(Hex(request), command.Payload);
        hooked.Hypervisor.Reply(command, Hex(reply));

        Assert.Equal(result, await calling.WaitAsync(Hooked.Cancel));
    }

    [Theory]
    [MemberData(nameof(Ids))]
    public async Task A_refusal_names_the_command_and_the_error(MessageId id)
    {
        await using Hooked hooked = await Hooked.StartAsync();

        Task<string> calling = Row(id).Call(hooked.Vm);
        hooked.Hypervisor.Refuse(hooked.Hypervisor.Expect(id), KvmError.Busy);

        KvmiException refused = await Assert.ThrowsAsync<KvmiException>(() => calling.WaitAsync(Hooked.Cancel));
        Assert.Equal(id, refused.Command);
        Assert.Equal(KvmError.Busy, refused.Error);
        Assert.StartsWith($"{id}", refused.Message, StringComparison.Ordinal);
        Assert.Contains("EBUSY", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(IdsWithFixedReply))]
    public async Task A_reply_cut_short_closes_the_connection_and_fails_the_command(MessageId id)
    {
        (_, Func<IntrospectedVm, Task<string>> call, _, string reply, _) = Row(id);
        await using Hooked hooked = await Hooked.StartAsync();

        Task<string> calling = call(hooked.Vm);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(id), Hex(reply).AsSpan(..^1));

        await Assert.ThrowsAsync<ProtocolException>(() => calling.WaitAsync(Hooked.Cancel));
        await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.True(hooked.Hypervisor.SeesEnd());
    }

    [Fact]
    public async Task Arguments_are_named_in_a_refusal()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task calling = hooked.Vm.Vcpus[1].InjectExceptionAsync(13, 0x18, cancellation: Hooked.Cancel).AsTask();
        hooked.Hypervisor.Refuse(hooked.Hypervisor.Receive(), KvmError.NotPermitted);

        KvmiException refused = await Assert.ThrowsAsync<KvmiException>(() => calling);
        Assert.Equal(
            "VcpuInjectException (vCPU 1, vector 13 error 0x18 address 0x0) was refused: EPERM, the owner of the VM does not allow it",
            refused.Message);
    }

    [Fact]
    public async Task A_struct_is_a_command_too()
    {
        await using Hooked hooked = await Hooked.StartAsync();

        ValueTask<CpuidResult> asking = hooked.Vm.SendAsync(new VcpuGetCpuid(new VcpuIndex(1), 7, 0), Hooked.Cancel);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuGetCpuid), new CpuidResult(1, 2, 3, 4));
        Assert.Equal(3u, (await asking).Ecx);

        ValueTask<byte[]> reading = hooked.Vm.SendAsync(new VmReadPhysical(new Gpa(0), 3), Hooked.Cancel);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VmReadPhysical), [7, 8, 9]);
        Assert.Equal([7, 8, 9], await reading);

        ValueTask writing = hooked.Vm.SendAsync(new VmWritePhysical(new Gpa(0), 1), new byte[] { 5 }, Hooked.Cancel);
        ReceivedMessage write = hooked.Hypervisor.Expect(MessageId.VmWritePhysical);
        Assert.Equal(5, write.Payload[16]);
        hooked.Hypervisor.Reply(write);
        await writing;
    }

    [Fact]
    public async Task A_blocking_send_works_on_any_thread()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<CpuidResult> asking = Task.Factory.StartNew(
            () => hooked.Vm.Send(new VcpuGetCpuid(default, 7, 0)), Hooked.Cancel, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuGetCpuid), new CpuidResult(1, 2, 3, 4));
        Assert.Equal(4u, (await asking.WaitAsync(Hooked.Cancel)).Edx);
    }

    [Fact]
    public async Task Replies_in_any_order_reach_their_commands()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<ulong> first = hooked.Vm.Vcpus[0].GetXcr0Async(Hooked.Cancel).AsTask();
        Task<ulong> second = hooked.Vm.Vcpus[1].GetXcr0Async(Hooked.Cancel).AsTask();
        ReceivedMessage one = hooked.Hypervisor.Receive();
        ReceivedMessage two = hooked.Hypervisor.Receive();
        hooked.Hypervisor.Reply(two, new VcpuGetXcrReply(2));
        hooked.Hypervisor.Reply(one, new VcpuGetXcrReply(1));

        Assert.Equal(1ul, await first.WaitAsync(Hooked.Cancel));
        Assert.Equal(2ul, await second.WaitAsync(Hooked.Cancel));
    }

    [Fact]
    public async Task Registers_without_the_msrs_asked_for_close_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<VcpuRegisters> asking = hooked.Vm.Vcpus[0].GetRegistersAsync(new uint[] { 1, 2 }, Hooked.Cancel).AsTask();
        hooked.Hypervisor.Reply(hooked.Hypervisor.Receive(), default(VcpuGetRegistersReply));
        ProtocolException broken = await Assert.ThrowsAsync<ProtocolException>(() => asking.WaitAsync(Hooked.Cancel));
        Assert.Contains("carries 0 MSRs, 2 were asked for", broken.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_longer_reply_is_a_newer_peers_and_accepted()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<ulong> asking = hooked.Vm.Vcpus[0].GetXcr0Async(Hooked.Cancel).AsTask();
        hooked.Hypervisor.Reply(hooked.Hypervisor.Receive(), Hex("0700000000000000 FFFF"));
        Assert.Equal(7ul, await asking.WaitAsync(Hooked.Cancel));
    }

    [Fact]
    public async Task An_address_without_translation_is_null()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<Gpa?> asking = hooked.Vm.Vcpus[0].TranslateAsync(new Gva(1), Hooked.Cancel).AsTask();
        hooked.Hypervisor.Reply(hooked.Hypervisor.Receive(), new VcpuTranslateGvaReply(null));
        Assert.Null(await asking.WaitAsync(Hooked.Cancel));
    }

    private static (MessageId Id, Func<IntrospectedVm, Task<string>> Call, string Request, string Reply, string Result) Row(MessageId id) =>
        Rows.Single(row => row.Id == id);

    private static async Task<string> Done(ValueTask task)
    {
        await task;
        return "done";
    }

    private static string Text<T>(T value) => Convert.ToString(value, CultureInfo.InvariantCulture)!;

    private static string Zeros(int bytes) => new('0', bytes * 2);

    private static byte[] Hex(string text) => Convert.FromHexString(text.Replace(" ", "", StringComparison.Ordinal));
}
