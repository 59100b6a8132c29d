using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace Hyperscope.Introspection.Tests;

public sealed class MetricsTests
{
    [Fact]
    public async Task Commands_refusals_events_and_lost_replies_are_counted()
    {
        ConcurrentDictionary<string, long> counts = [];
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, self) =>
        {
            if (instrument.Meter.Name == "Hyperscope.Introspection")
                self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            string name = tags.Length == 0 ? instrument.Name : $"{instrument.Name}/{tags[0].Value}";
            counts.AddOrUpdate(name, value, (_, sum) => sum + value);
        });
        listener.Start();
        using var bench = new Bench();
        bench.Tool.PostRaw(0x7000, []);
        bench.Tool.ReceiveReply((MessageId)0x7000, bench.Tool.LastSeq);
        bench.Enable(EventId.Descriptor);
        Task<InstructionVerdict> access = bench.Vcpu.Execute(
            vcpu => bench.Vm.Events!.OnDescriptorAccess(vcpu, DescriptorTable.Tr, isWrite: true));
        bench.Tool.ReceiveEvent(EventId.Descriptor);
        bench.Introspector.Unhook();
        await access.Soon();

        // Other test classes run beside this one, so these are lower bounds.
        foreach (string name in new[] { "commands", "refusals", "events/Descriptor", "events.unanswered" })
            Assert.InRange(counts.GetValueOrDefault("hyperscope.kvmi." + name), 1, long.MaxValue);
    }
}
